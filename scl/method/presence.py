"""Is the object there at all? A logistic of a few numbers, learned on classes the heads never met.

Something is always the likeliest, so how sure heads are says little, and least of all on what they
were trained on. The numbers are cosines of what was found to the object and to its background, and
the shape of the logits. See scl.study.general, which learns their weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

OF_LOGITS = 7  # numbers that tell of a map of logits
FAR = 4.0  # standard deviations: what is further away counts as this far


def logit_signals(logits: Tensor, there: Tensor) -> Tensor:
    """Describe N maps of logits [N, h, w] by numbers [N, 7]; there: [N, h, w] of 0 and 1.

    The highest, the average of the highest hundredth, the average in what was found, the chances'
    average, the logits' average and deviation, and the share that was found.
    """
    rows = []
    for z in (z[on > 0] for z, on in zip(logits.float(), there, strict=True)):
        chance, top = z.sigmoid(), z.topk(max(1, len(z) // 100)).values
        found = found_of(chance[None])[0]
        inside = (z * found).sum() / found.sum().clamp(min=1e-6)
        moments = chance.mean(), z.mean(), z.std(correction=0)
        rows.append(torch.stack([z.max(), top.mean(), inside, *moments, (z > 0).float().mean()]))
    return torch.stack(rows)


def found_of(chance: Tensor) -> Tensor:
    """Weigh the cells that were found by their chances [N, ...]; all cells where none was."""
    sure = chance * (chance > 0.5)
    return torch.where(
        sure.flatten(1).sum(dim=1).view(-1, *[1] * (sure.dim() - 1)) > 0, sure, chance
    )


def stage_cosines(one: Tensor, other: Tensor, widths: Sequence[int]) -> Tensor:
    """Compare vectors [N, C] stage by stage: cosines [N, S]."""
    parts = zip(one.split(tuple(widths), 1), other.split(tuple(widths), 1), strict=True)
    return torch.stack([F.cosine_similarity(a, b, dim=1) for a, b in parts], dim=1)


class PresenceHead(nn.Module):
    """Turn n signals x into the presence sigma(w (x - m) / s + b), 0..1."""

    mean: Tensor
    spread: Tensor

    def __init__(self, signals: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(signals))
        self.register_buffer("spread", torch.ones(signals))
        self.weigh = nn.Linear(signals, 1)

    def forward(self, signals: Tensor) -> Tensor:
        """Tell the presence [N] of what has the signals [N, n]."""
        x = ((signals - self.mean) / self.spread).clamp(-FAR, FAR)
        return self.weigh(x).squeeze(1).sigmoid()

    def learn(self, signals: Tensor, overlaps: Tensor, shown: Tensor, decay: float = 0.01) -> None:
        """Fit to E episodes: signals [E, n], IoU of what was found [E], object there or not [E].

        An episode that shows the object counts as much as its overlap, one that does not as 1; both
        kinds together weigh the same. So p / (1 - p) is the overlap that an empty mask is expected
        to lose, over the chance that it is right: no other order of emptying masks loses less.
        """
        self.mean, self.spread = signals.mean(dim=0), signals.std(dim=0).clamp(min=1e-4)
        goal = shown.float()
        worth = torch.where(shown, overlaps / overlaps[shown].sum(), 1 / (~shown).sum()) / 2
        nn.init.zeros_(self.weigh.weight)
        nn.init.zeros_(self.weigh.bias)
        fitting = torch.optim.LBFGS(self.parameters(), max_iter=300, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            fitting.zero_grad()
            missed = F.binary_cross_entropy(self(signals), goal, worth, reduction="sum")
            total = missed + decay * self.weigh.weight.square().sum()
            total.backward()
            return total

        fitting.step(loss)


def limit_that_empties(presence: Sequence[float], share: float) -> float:
    """Find the least presence below which a share of pictures without the object lies."""
    return round(float(np.quantile(presence, share)), 4)


def separation(shown: Sequence[float], free: Sequence[float]) -> float:
    """Compute the ROC area: how often presence is higher where the object is; a tie is half."""
    one, other = np.asarray(shown)[:, None], np.asarray(free)[None]
    return float(((one > other) + 0.5 * (one == other)).mean())
