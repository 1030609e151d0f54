"""Chapter 6: K supports, their scores and their fusion."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from scl.method import fusion

from . import judge
from .judge import Case, Function, Mistake, Slip

CONFIDENCE_SLIPS = (
    Slip(lambda u: u.mean(dim=1),
         "You averaged over the wrong axis: how well support k is predicted by the others, not "
         "how well it predicts them. Entry [b, k, i] has support k as the guide."),
    Slip(lambda u: u.sum(dim=2),
         "You added the IoU of all supports without averaging: the score would grow with K."),
    Slip(lambda u: u.amax(dim=2),
         "You took the best IoU of each support. One lucky pair should not decide."),
    Slip(lambda u: u.mean(dim=2).softmax(dim=1),
         "The scores went through a softmax. Eq. 16 leaves them as they are."),
    Slip(lambda u: u.mean(dim=2) / u.mean(dim=2).sum(dim=1, keepdim=True),
         "The scores were scaled to sum to 1. Eq. 16 leaves them as they are."),
    Slip(lambda u: fusion.confidence(u, own_score=False),
         "You left out each support's prediction of itself. A reasonable idea (rule own_score of "
         "this course), but Eq. 16 lets i run over all supports."),
    Slip(lambda u: u.diagonal(dim1=1, dim2=2),
         "Only each support's prediction of itself counts in your score; the others are asked, "
         "too."),
    Slip(lambda u: u.sum(dim=2) / 5,
         "You divided by 5, as if there were always five supports. Here K is another number."),
)  # fmt: skip


def confidence(function: Function) -> bool:
    """Chapter 6, core: function(mutual [B, K, K]) -> [B, K], Eq. 16.

    mutual[b, k, i] is the IoU of support i predicted under support k.
    """
    g = judge.generator(5)
    cases = [
        Case("2 episodes of 4 supports", (torch.rand(2, 4, 4, generator=g),)),
        Case("3 episodes of 2 supports", (torch.rand(3, 2, 2, generator=g),)),
    ]
    well = "each support is scored by how well it segments all of them"
    return judge.compare(function, fusion.confidence, cases, CONFIDENCE_SLIPS, well)


def _weighted(logits: Tensor, scores: Tensor) -> Tensor:
    """Add up the maps, each times its score: [B, 2, H, W]."""
    return (scores[..., None, None, None] * logits).sum(dim=1)


def _votes(logits: Tensor) -> Tensor:
    """Count the share of supports that vote for each class."""
    return F.one_hot(logits.argmax(dim=2), 2).movedim(-1, 2).double().mean(dim=1)


def _total(scores: Tensor) -> Tensor:
    return scores.sum(dim=1)[:, None, None, None]


EARLY_SOFTMAX = (
    "You took the softmax of each support first, and weighted the probabilities. In Eq. 17 the "
    "scores weight the maps before the softmax."
)
NO_SCORES = "The scores make no difference: all supports count the same."
VOTE = (
    "The supports vote with their argmax, and it is lost how sure each one was. Eq. 17 weights "
    "whole score maps."
)
FUSE_SLIPS = (
    Slip(lambda x, u: x.mean(dim=1).softmax(dim=1), NO_SCORES),
    Slip(lambda x, u: x.softmax(dim=2).mean(dim=1), NO_SCORES),
    Slip(lambda x, u: _weighted(x.softmax(dim=2), u) / x.shape[1], EARLY_SOFTMAX),
    Slip(lambda x, u: _weighted(x.softmax(dim=2), u) / _total(u), EARLY_SOFTMAX),
    Slip(lambda x, u: (_weighted(x, u) / _total(u)).softmax(dim=1),
         "You divided by the sum of the scores. Eq. 17 divides by another number, so that "
         "supports that are all poor give a hesitant prediction."),
    Slip(lambda x, u: (_weighted(x, u) / 5).softmax(dim=1),
         "You divided by 5, as the released code does. Here the number of supports is K, and it "
         "is another one."),
    Slip(lambda x, u: _weighted(x, u).softmax(dim=1),
         "You added the weighted maps without dividing: with more supports, the same opinion "
         "would become more certain."),
    Slip(lambda x, u: _votes(x), VOTE),
    Slip(lambda x, u: F.one_hot(_votes(x).argmax(dim=1), 2).movedim(-1, 1), VOTE),
    Slip(lambda x, u: _as_they_stand(x, u),
         "Your scores were laid along the pixels: axes of length 1 are missing after B and K. "
         "Score k belongs to the whole of map k."),
    Slip(lambda x, u: _weighted(x, u) / x.shape[1],
         "Score maps came out; probabilities are asked for. Which step of Eq. 17 is missing?"),
)  # fmt: skip


def _as_they_stand(logits: Tensor, scores: Tensor) -> Tensor:
    """Multiply scores [B, K] with maps of which the last two axes happen to be as long."""
    if scores.shape != logits.shape[-2:]:
        return torch.full_like(logits[:, 0], -1)
    return (scores * logits).mean(dim=1).softmax(dim=1)


def fuse(function: Function) -> bool:
    """Chapter 6, stretch: function(logits [B, K, 2, H, W], scores [B, K]) -> [B, 2, H, W].

    Probabilities by Eq. 17, which divides by K.
    """
    g, cases = judge.generator(6), []
    # The first maps are as high and wide as scores are, so that axes forgotten go unnoticed.
    for b, k, h, w in ((2, 3, 2, 3), (2, 5, 4, 5), (3, 1, 4, 5)):
        inputs = 3 * torch.randn(b, k, 2, h, w, generator=g), torch.rand(b, k, generator=g)
        cases.append(Case(f"{b} episodes of {k} supports", inputs))
    well = "better supports count for more, for any number of supports"
    return judge.compare(function, fusion.fuse, cases, FUSE_SLIPS, well)


def _spoiled_episodes(count: int = 400, shots: int = 5) -> tuple[Tensor, Tensor]:
    """Make mutual IoUs [B, K, K] with one spoiled support in each episode, and which, [B].

    Made like the real ones of the chapter: what is hard is mostly the picture (a column), guides
    (rows) differ little, and a support knows itself a little better than others know it. Under a
    wrong mask it guides a little worse, and the others hardly find what it shows.
    """
    g = judge.generator(7)
    spoiled = torch.randint(shots, (count,), generator=g)
    bad = F.one_hot(spoiled, shots).float()
    of_picture = 0.15 * torch.randn(count, 1, shots, generator=g)
    of_guide = 0.05 * torch.randn(count, shots, 1, generator=g)
    mutual = 0.4 + of_picture + of_guide + 0.06 * torch.randn(count, shots, shots, generator=g)
    mutual = mutual - 0.08 * bad[:, :, None] - 0.2 * bad[:, None, :]
    mutual = mutual + torch.eye(shots) * (0.1 + 0.2 * bad[:, :, None])
    return mutual.clamp(0, 1), spoiled


def _ranks_last(scores: Tensor, spoiled: Tensor) -> float:
    """Count the share of episodes in which the spoiled support alone has the lowest score."""
    lowest = scores.amin(dim=1, keepdim=True)
    alone = (scores == lowest).sum(dim=1) == 1
    return float((alone & (scores.argmin(dim=1) == spoiled)).double().mean())


def _same_order(a: Tensor, b: Tensor) -> bool:
    """Tell whether two scores [B, K] rank the supports of all episodes alike."""
    return torch.equal(a.argsort(dim=1, stable=True), b.argsort(dim=1, stable=True))


def _check_scores(scores: Tensor, mutual: Tensor) -> None:
    """Ask for scores that are fit to weight with, and rank by more than one known idea."""
    own = mutual.diagonal(dim1=1, dim2=2)
    if (scores < 0).any():
        raise Mistake(f"A score is negative ({float(scores.min()):.2f}); Eq. 17 weights with it.")
    if torch.equal(scores.amin(dim=1), scores.amax(dim=1)):
        raise Mistake("All supports of an episode get the same score: nobody is ranked.")
    if _same_order(scores, own) or _same_order(scores, -own):
        raise Mistake(
            "Only each support's IoU with itself decides in your score, and that says little: a "
            "wrong mask can be learned from the very picture it is wrong on."
        )
    if _same_order(scores, fusion.confidence(mutual)):
        raise Mistake(
            "That is Eq. 16: it ranks the supports exactly as yours. Which entries of the matrix "
            "flatter a spoiled support, and which does Eq. 16 never look at?"
        )


@judge.told
def own_score(function: Function) -> str:
    """Chapter 6, open: function(mutual [B, K, K]) -> scores [B, K], at least 0.

    One support of each episode is spoiled; it must rank last more often than by Eq. 16.
    """
    mutual, spoiled = _spoiled_episodes()
    result = judge.run(function, "400 episodes of 5 supports", mutual)
    scores = judge.finite(result, "The result", tuple(mutual.shape[:2]))
    _check_scores(scores, mutual)
    mine, theirs = (_ranks_last(s, spoiled) for s in (scores, fusion.confidence(mutual)))
    numbers = (
        f"the spoiled support comes last in {mine:.1%} of 400 episodes, by Eq. 16 in {theirs:.1%}"
    )
    if mine > theirs:
        return numbers
    raise Mistake(
        f"Your score does not beat Eq. 16: {numbers}. What do the others make of a picture whose "
        "mask is wrong? Look along its column, too."
    )
