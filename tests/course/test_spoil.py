"""Ways to use several supports, against what they are made from."""

import numpy as np
import torch

from scl.course.spoil import fuse_every_way, lowest_share
from scl.method.episode import Episodes
from scl.method.scl import Maps
from tests.helpers.models import random_task, tiny_model


def test_every_way_of_fusing_is_bounded_by_what_it_fuses():
    model = tiny_model()
    images, masks, query, query_masks = random_task(b=3, k=4)
    flat = model.encode(images.flatten(0, 1), masks.flatten(0, 1))
    support = Maps(*(None if m is None else m.unflatten(0, (3, 4)) for m in flat))
    batch = Episodes(support, masks, model.encode(query), query_masks, torch.arange(3))
    results, read = fuse_every_way(model, batch)
    assert read.scores.shape == (3, 4) and len(results) == 7
    iou = {n: r.counts[:, 0] / np.maximum(r.counts[:, 1], 1) for n, r in results.items()}
    for way in ("one support", "the best-scored support"):
        assert (iou["the best support (oracle)"] >= iou[way] - 1e-9).all()
    size = query_masks.shape[-2:]
    for fusion, way in (("cross", "cross-guided (Eq. 17)"), ("average", "averaging predictions")):
        mask = model.segment(read, batch.query, fusion, size).mask
        hits = ((mask == 1) & (query_masks == 1)).flatten(1).sum(1)
        assert results[way].counts[:, 0].tolist() == hits.tolist()


def test_the_share_of_lowest_scores():
    scores = torch.tensor([[0.1, 0.5], [0.6, 0.5], [0.2, 0.9], [0.1, 0.3]])
    value, low, high = lowest_share(scores)
    assert value == 75 and low < 75 < high <= 100
