"""Settings for the whole suite. They must come before torch and matplotlib are imported."""

import os

# Two workers of one thread beat one of two, and neither opens windows.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "agg")

from hypothesis import settings  # noqa: E402

# The same examples every time, and no limit on an example's time: cores here are shared.
settings.register_profile("course", derandomize=True, deadline=None)
settings.load_profile("course")


def pytest_collection_modifyitems(items):
    """Start the notebooks first, so that the short tests fill the other worker meanwhile."""
    items.sort(key=lambda item: item.get_closest_marker("notebook") is None)
