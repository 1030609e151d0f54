"""What the explorers show, against the model itself."""

import numpy as np
import pytest
import torch

from scl.course import draw
from scl.course.explorers.found_lost import found_lost_query_figure, look, rows_figure
from scl.course.explorers.fusion import LEFT_OUT, fusion_figure, fusion_look, spoil_kinds
from scl.method.metric import count_pixels
from scl.method.rules import V_S
from scl.models.build import ModelConfig, build_model
from tests.helpers.models import texts


@pytest.mark.parametrize("head", ["canet", "pfenet"])
def test_at_one_half_the_look_is_the_model_itself(world, head):
    toys, made, banks, _, one, _ = world
    model, bank = made[head], banks[head]
    view, batch = look(model, toys, bank, one[0]), bank.batch(one[:1])
    support = model.condition(batch.support, batch.support_masks)
    own = model.segment(support, batch.query, size=(64, 64)).mask
    assert np.array_equal(view.predictions["both"], own[0].numpy() == 1)
    assert np.array_equal(view.found, support.guide.found[0].numpy())
    assert np.array_equal(view.found + view.lost, view.mask)
    intersection, union = count_pixels(own, batch.query_masks)[0, :2].tolist()
    assert view.ious["both"] == pytest.approx(intersection / union)


def test_the_threshold_splits_the_support_and_cuts_the_cosine(world):
    toys, _, banks, guides, one, _ = world
    guide = guides["cosine, both (152 channels)"]
    low, high = (look(guide, toys, banks["canet"], one[0], t) for t in (0.05, 0.95))
    assert low.found.sum() > high.found.sum() and low.unit == "cosine"
    assert all((low.predictions[name] >= high.predictions[name]).all() for name in low.predictions)
    assert np.array_equal(high.found == 1, (high.mask == 1) & (high.probability > 0.95))
    nothing = look(guide, toys, banks["canet"], one[0], 0.99)
    assert "v_pri = v_s: IoU 0.00" in texts(found_lost_query_figure(nothing))


def test_a_model_of_one_vector_is_refused(world):
    toys, made, banks, _, one, _ = world
    single = build_model(ModelConfig(guidance=V_S), 0, made["canet"].backbone)
    with pytest.raises(ValueError, match="expected \\('pri', 'aux'\\)"):
        look(single, toys, banks["canet"], one[0])


@pytest.mark.parametrize("head", ["canet", "pfenet"])
def test_fusion_is_the_models_own(world, head):
    """A first support on the wrong object is what the bank itself can spoil."""
    toys, made, banks, _, _, three = world
    model, bank = made[head], banks[head]
    for wrong, kinds in ((0, None), (1, ("wrong object", "clean", "clean"))):
        view, batch = fusion_look(model, toys, bank, three, kinds), bank.batch([three], wrong)
        support = model.condition(batch.support, batch.support_masks)
        assert np.allclose(view.mutual, support.mutual[0], atol=1e-6)
        assert np.allclose(view.scores, support.scores[0], atol=1e-6)
        for name, fusion in (("cross-guided", "cross"), ("plain average", "average")):
            mask = model.segment(support, batch.query, fusion, (64, 64)).mask[0].numpy() == 1
            assert (view.predictions[name] != mask).mean() < 1e-3


def test_a_support_left_out_has_no_say(world):
    toys, made, banks, _, _, three = world
    view = fusion_look(made["canet"], toys, banks["canet"], three, ("clean", LEFT_OUT, "clean"))
    fewer = three._replace(supports=three.supports[::2])
    other = fusion_look(made["canet"], toys, banks["canet"], fewer)
    assert np.isnan(view.scores[1]) and np.isnan(view.mutual[1]).all()
    assert np.allclose(view.mutual[::2, ::2], other.mutual, atol=1e-6)
    assert view.ious["cross-guided"] == pytest.approx(other.ious["cross-guided"], abs=1e-3)
    assert "left out" in " ".join(texts(fusion_figure(view)))
    with pytest.raises(ValueError, match="put at least one back"):
        fusion_look(made["canet"], toys, banks["canet"], three, (LEFT_OUT,) * 3)


def test_no_other_object_no_wrong_mask(world):
    class Bare:
        pass

    class Alone:
        def wrong_mask(self, index):
            raise ValueError("scene shows no object but its target")

    assert "wrong object" in spoil_kinds(world[0], 0)
    for dataset in (Bare(), Alone()):
        assert spoil_kinds(dataset, 0) == ("clean", "shifted", "eroded", "random box", LEFT_OUT)


def test_rows_show_photographs_maps_and_regions():
    photo, mask = np.full((64, 64, 3), 200, np.uint8), np.eye(8)
    shown = [mask == 1, torch.tensor(mask), {draw.FOUND: mask}]
    row = [("plain", photo, mask), *((f"seen {i}", photo, mask, x) for i, x in enumerate(shown))]
    figure = rows_figure([row, row])
    assert [t.get_text() for t in figure.texts] == ["plain", "seen 0", "seen 1", "seen 2"] * 2
    canvas = figure.axes[0].images[0].get_array()
    panels = [canvas[100:140, 188 * i + 140 : 188 * i + 180] for i in range(4)]  # off the mask
    brightness = [panel[..., :3].mean() for panel in panels]
    assert brightness[0] == 200 > max(brightness[1:]), "only the photograph is as it was"
