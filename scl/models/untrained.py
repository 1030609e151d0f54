"""Methods without training, to measure every claim against.

They are heads without a parameter, so that condition, segment and every fusion work on them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from scl.method.contracts import Backbone, Features, Head, Role
from scl.method.records import Prediction
from scl.method.rules import SELF_GUIDED, V_S, Rules
from scl.method.scl import SCL
from scl.method.vectors import cosine_map
from scl.method.words import expect
from scl.models.backbones.lite0 import LITE0_STAGES, MID_STAGES


class CosineHead(Head):
    """Foreground is where the cosine to v_s exceeds a threshold, on the raw features.

    The score maps are (t - cos, cos - t) x sharpness, so softmax gives a probability whose
    middle is the threshold.
    """

    n = 1

    def __init__(self, threshold: float, sharpness: float = 10.0):
        super().__init__()
        self.threshold, self.sharpness = threshold, sharpness

    def support(
        self, features: Features, vectors: Tensor, pyramid: tuple[Tensor, ...] = ()
    ) -> Prediction:
        above = (
            cosine_map(expect(Tensor, features), vectors[:, 0]) - self.threshold
        ) * self.sharpness
        return Prediction(torch.stack([-above, above], dim=1))


def cosine_method(backbone: Backbone, threshold: float, rules: Rules = Rules()) -> SCL:
    """Compare every cell with v_s by cosine; nothing is trained."""
    return SCL(backbone, CosineHead(threshold), V_S, rules).eval()


def all_foreground(backbone: Backbone) -> SCL:
    """Call every pixel foreground: a cosine is never below -1."""
    return cosine_method(backbone, -2.0)


class CosineGuide(Head):
    """A head without training, for two vectors: a cell's cosine to the nearer one is its chance.

    channels: the mid-level channels that are compared. The softmax of the score maps is the
    cosine, clamped, so a threshold on that probability is one on the cosine.
    """

    n = 2

    def __init__(self, channels: slice):
        super().__init__()
        self.channels = channels

    def reduce(self, mid: Tensor, role: Role) -> Tensor:
        return mid[:, self.channels]

    def support(
        self, features: Features, vectors: Tensor, pyramid: tuple[Tensor, ...] = ()
    ) -> Prediction:
        cosines = [cosine_map(expect(Tensor, features), vector) for vector in vectors.unbind(dim=1)]
        # Score maps are enlarged before the softmax: a chance of zero would pull too hard there.
        chance = torch.stack(cosines).amax(dim=0).clamp(0.02, 0.98)
        return Prediction(torch.stack([(1 - chance).log(), chance.log()], dim=1))


def cosine_guides(backbone: Backbone) -> dict[str, SCL]:
    """Make guides by name: the cosine on each mid-level stage of the backbone, and on both."""
    (low, a), (high, b) = ((stage + 1, LITE0_STAGES[stage][-1]) for stage in MID_STAGES)
    stages = {
        f"cosine, stage {low} ({a} channels)": slice(0, a),
        f"cosine, stage {high} ({b} channels)": slice(a, None),
        f"cosine, both ({a + b} channels)": slice(None),
    }
    return {
        name: SCL(backbone, CosineGuide(channels), SELF_GUIDED).eval()
        for name, channels in stages.items()
    }
