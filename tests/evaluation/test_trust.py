"""How far to trust a prediction: presence, and the support found again in itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scl.datasets.fit import Fit
from scl.evaluation.protocol import ProtocolConfig, show
from scl.evaluation.trust import own_ious, surest
from scl.method.similarity import SimilarityConfig, SimilaritySCL
from scl.models.prototypes import Prototypes
from tests.helpers.drawn import Blocks
from tests.helpers.models import Stages

FIT = Fit(64, "whole")


def test_the_surest_is_the_mean_of_the_highest_hundredth():
    chance = np.zeros((20, 20), np.float32)
    chance[0, :4] = 0.2, 0.4, 0.6, 0.8
    assert surest(chance) == pytest.approx(0.5)
    assert surest(np.full((3, 3), 0.3)) == pytest.approx(0.3)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("kind", ["similarity", "rule"])
def test_every_support_is_told_how_well_it_is_found_in_itself(kind, count):
    torch.manual_seed(0)
    config = SimilarityConfig(features=4, width=6)
    model = (
        SimilaritySCL(Stages(), config).eval()
        if kind == "similarity"
        else Prototypes(Stages(), "cosine", 0.3)
    )
    shown = [FIT.to_network(*Blocks()[item]) for item in (1, 2, 4)[:count]]
    support = show(model, [image for image, _ in shown], [mask for _, mask in shown])
    found = own_ious(model, support, shown, ProtocolConfig(fit=FIT))
    assert len(found) == count and all(0 <= value <= 1 for value in found)
