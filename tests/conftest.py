"""Settings for the whole suite. They must come before torch and matplotlib are imported."""

import os

# Two workers of one thread beat one of two, and neither opens windows.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "agg")

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

# The same examples every time, and no limit on an example's time: cores here are shared.
settings.register_profile("course", derandomize=True, deadline=None)
settings.load_profile("course")


def pytest_collection_modifyitems(items):
    """Start the notebooks first, so that the short tests fill the other worker meanwhile."""
    items.sort(key=lambda item: item.get_closest_marker("notebook") is None)


@pytest.fixture(scope="session")
def stored(tmp_path_factory):
    """A handful of tiny experiments of one fold."""
    from scl.study.compute import compute
    from scl.study.grid import Experiment
    from tests.helpers.models import TINY

    results = tmp_path_factory.mktemp("results")
    for stage in ("tuning", "plateau"):
        compute(Experiment("canet", "scl", 0, 0, stage), TINY, results)
    for variant in ("foreground", "cosine", "scl", "aux"):
        compute(Experiment("canet", variant, 0, 0), TINY, results, heads=results / "heads")
    return results


@pytest.fixture(scope="session")
def world():
    """Toys of 64 pixels, an untrained head of each kind, and their episodes."""
    from scl.datasets.bank import FeatureBank
    from scl.datasets.toyshop import ToyshopSet
    from scl.method.episode import EpisodeSampler
    from scl.models.backbones import EfficientNetLite0
    from scl.models.build import ModelConfig, build_model
    from scl.models.untrained import cosine_guides
    from scl.toyshop import Atlas

    labels, backbone = (10, 13), EfficientNetLite0()  # lamp and chair
    toys = ToyshopSet(Atlas.load(), labels, 6, seed=1, size=64)
    made = {h: build_model(ModelConfig(head=h, d=8), 0, backbone) for h in ("canet", "pfenet")}
    banks = {name: FeatureBank(model, toys, wrong=True) for name, model in made.items()}
    guides = {"untrained head": made["canet"], **cosine_guides(backbone)}
    one = [e for label in labels for e in EpisodeSampler(toys, 1, [label]).fixed(3, 0)]
    return toys, made, banks, guides, one, EpisodeSampler(toys, 3, labels[:1]).fixed(1, 0)[0]
