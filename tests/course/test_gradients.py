"""Where gradients go, against where the equations let them."""

import torch

from scl.course.measure import gradient_maps, gradient_norms
from scl.method.episode import Episodes
from scl.method.scl import Maps
from scl.method.vectors import shrink_mask
from tests.helpers.models import maps_of, random_task, tiny_model


def one_shot_batch(model, b=4):
    images, masks, query, query_masks = random_task(b=b, k=1)
    support = Maps(*(None if m is None else m[:, None] for m in maps_of(model, images, masks)[0]))
    labels = torch.arange(b)
    return Episodes(support, masks, model.encode(query), query_masks, labels)


def test_no_gradient_crosses_the_argmax():
    model = tiny_model(norm=False)
    norms = gradient_norms(model, one_shot_batch(model))
    assert norms["q"]["support_branch"] == 0 and norms["q"]["query_branch"] > 0
    for loss in ("s1", "s2"):
        assert norms[loss]["query_branch"] == 0 and norms[loss]["support_branch"] > 0
    assert all(row["reducer"] > 0 and row["aspp"] > 0 for row in norms.values())
    assert not model.training


def test_the_query_pulls_at_the_support_through_its_mask_alone():
    model = tiny_model(norm=False)
    batch = one_shot_batch(model)
    maps = gradient_maps(model, batch)
    outside = shrink_mask(batch.support_masks[:, 0], maps["q"][0].shape)[0] == 0
    assert maps["q"][0][outside].abs().max() == 0 and maps["q"][0].max() > 0
    assert maps["s1"][0][outside].max() > 0 and maps["s1"][1].max() == 0
