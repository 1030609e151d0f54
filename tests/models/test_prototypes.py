"""Rules without training: they find what is plain, and are what their sources say."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from scl.method.episode import image_tensor
from scl.method.vectors import masked_gap, shrink_mask
from scl.models.prototypes import RULES, Prototypes
from tests.helpers.drawn import Blocks
from tests.helpers.models import Stages


def shown(item: int) -> tuple[torch.Tensor, torch.Tensor]:
    image, mask = Blocks()[item]
    return image_tensor(image)[None], torch.tensor(mask)[None]


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_finds_a_block_of_the_same_colour(rule):
    method = Prototypes(Stages(), rule, threshold=0.3)
    (image, mask), (query, truth) = shown(1), shown(4)
    found = method.segment(method.condition([image], [mask]), query).mask
    both, either = (found & truth).sum(), (found | truth).sum()
    assert both / either > 0.5


def test_cosine_is_the_cosine_to_v_s():
    method = Prototypes(Stages(), "cosine", threshold=0.2, sharpness=3)
    (image, mask), (query, _) = shown(1), shown(2)
    cells = method.deep(method.encode(image).mid)
    v_s = masked_gap(cells, shrink_mask(mask, cells.shape[-2:]))
    there = method.deep(method.encode(query).mid)
    slow = F.cosine_similarity(there, v_s[:, :, None, None], dim=1)
    size = there.shape[-2:]
    logits = method.segment(method.condition([image], [mask]), query, size=size).fused_logits
    torch.testing.assert_close(logits[:, 1] - logits[:, 0], 3 * (slow - 0.2))


def test_an_unknown_rule_is_refused():
    with pytest.raises(ValueError, match="expected one of"):
        Prototypes(Stages(), "median")  # type: ignore[arg-type]
