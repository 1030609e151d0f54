"""Chapter 4: the losses, and whom they teach."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scl.course.measure import gradient_norms
from scl.method import fusion
from scl.method.contracts import Backbone
from scl.method.episode import Episodes
from scl.method.heads import CANetHead
from scl.method.scl import SCL, Maps
from scl.method.vectors import IGNORE

from . import judge
from .judge import Case, Function, Mistake, Slip


def _right_entropy(logits: Tensor, mask: Tensor) -> Tensor:
    return F.cross_entropy(logits, mask, ignore_index=IGNORE)


def _picked(values: Tensor, mask: Tensor) -> Tensor:
    """Average minus the value at the true class over the known pixels."""
    return F.nll_loss(values, mask, ignore_index=IGNORE)


def _entropy_sum(logits: Tensor, mask: Tensor) -> Tensor:
    return F.cross_entropy(logits, mask, ignore_index=IGNORE, reduction="sum")


def _crossed(logits: Tensor, mask: Tensor) -> Tensor:
    """Multiply [N, 1, h, w] by [N, h, w]: every image meets the mask of every other."""
    known = mask != IGNORE
    right = logits.log_softmax(dim=1).gather(1, (mask * known).unsqueeze(1))
    return -(right * known).sum() / known.sum()


def _image_by_image(logits: Tensor, mask: Tensor) -> Tensor:
    pairs = zip(logits.split(1), mask.split(1), strict=True)
    return torch.stack([_right_entropy(*pair) for pair in pairs]).mean()


ENTROPY_SLIPS = (
    *(
        Slip(lambda x, m, label=label: F.cross_entropy(x, torch.where(m == IGNORE, label, m)),
             f"Pixels marked 255 were counted as {name}. Nobody knows their label: they must "
             "not count at all.")
        for label, name in enumerate(("background", "object"))
    ),
    Slip(lambda x, m: _entropy_sum(x, m) / m.numel(),
         "You left the pixels marked 255 out of the sum, but still counted them in the divisor: "
         "the more is unknown, the smaller your loss."),
    Slip(_image_by_image,
         "You averaged each image first, and then the images: a pixel of an image with much "
         "unknown counts for more than a pixel of another."),
    Slip(_crossed,
         "What you picked still has an axis of length 1 where the two classes were. Multiplied by "
         "a mask that lacks it, every image meets the mask of every other image."),
    Slip(_entropy_sum, "The pixels' losses were added up, not averaged."),
    Slip(lambda x, m: _entropy_sum(x, m) / len(x),
         "You divided the sum by the number of images, not by the number of pixels."),
    Slip(lambda x, m: -_right_entropy(x, m),
         "The sign is wrong: a loss should be above 0, and fall as the prediction improves."),
    Slip(lambda x, m: _picked(x.log(), m),
         "NaN came out. Did you take the logarithm of logits? They can be negative: they are no "
         "probabilities yet."),
    Slip(lambda x, m: _picked(x, m),
         "You averaged the logits of the true class as they are. Eq. 7 wants probabilities, and "
         "their logarithm."),
    Slip(lambda x, m: _picked(x.softmax(dim=1), m),
         "You averaged the probabilities of the true class; the logarithm of Eq. 7 is missing."),
    Slip(lambda x, m: _right_entropy(x.flip(1), m),
         "The classes are swapped: channel 0 is the background, channel 1 the object."),
    *(
        Slip(lambda x, m, dim=dim: _picked(x.log_softmax(dim=dim), m),
             f"The softmax runs over dimension {dim}. Which dimension holds the two classes?")
        for dim in (0, 2, 3)
    ),
)  # fmt: skip


def cross_entropy(function: Function) -> bool:
    """Chapter 4, core: function(logits [N, 2, h, w], mask [N, h, w]) -> scalar, Eq. 7.

    The mask holds whole numbers: 0, 1, and 255 where nobody knows. The average runs over all
    pixels of the batch whose label is known.
    """
    g = judge.generator(3)
    logits = 2 * torch.randn(2, 2, 5, 6, generator=g)
    mask = (torch.rand(2, 5, 6, generator=g) > 0.6).long()
    unknown = mask.clone()
    unknown[0, :3], unknown[1, 4] = IGNORE, IGNORE
    cases = [
        Case("masks of 0 and 1", (logits, mask)),
        Case("masks of 0, 1 and 255", (logits, unknown)),
    ]
    well = "the average over all pixels whose label is known, and over no others"
    return judge.compare(function, _right_entropy, cases, ENTROPY_SLIPS, well)


LOSSES = ("q", "s1", "s2")
PARTS = ("reducer", "compare", "support_branch", "query_branch", "aspp")
QUESTIONS = {
    ("support_branch", True): "All that the query's pass takes from this branch are the regions, "
    "and they went through the argmax of Eq. 4. What gradient does an argmax pass on?",
    ("support_branch", False): "This loss judges a prediction for the support. Which branch ran "
    "to make it?",
    ("query_branch", True): "This loss judges a prediction for the support. Which layers ran to "
    "make it?",
    ("query_branch", False): "This loss judges a prediction for the query. Which layers ran to "
    "make it?",
    ("aspp", False): "The ASPP is part of the decoder D. How many decoders are there in Eq. 3, 9 "
    "and 12?",
    ("reducer", False): "The backbone is frozen, but is the reducer a part of it? Where do the "
    "cells and the vectors that are compared come from?",
    ("compare", False): "Eq. 2, 8 and 11 lay vectors beside the cells. Which layer reads the "
    "result, and in which passes?",
}


def gradients() -> dict[tuple[str, str], bool]:
    """Ask autograd, on a small random model, which loss sends a gradient to which part."""
    g = judge.generator(4)
    support, query = (Maps(torch.randn(2, 6, 6, 6, generator=g)) for _ in range(2))
    masks = (torch.rand(2, 2, 12, 12, generator=g) > 0.4).long()
    supports = Maps(support.mid[:, None]), masks[0][:, None]
    one_shot = Episodes(*supports, query, masks[1], torch.zeros(2))
    unasked = cast(Backbone, nn.Identity())  # the maps are given
    with judge.same_chance(), torch.enable_grad():  # whatever the notebook has switched off
        norms = gradient_norms(SCL(unasked, CANetHead(6, n=2, d=8)), one_shot)
    return {(loss, part): norms[loss][part] > 0 for loss in LOSSES for part in PARTS}


def _check_answers(answers: Any, truth: dict[tuple[str, str], bool]) -> None:
    """Ask for True or False for every pair of loss and part, and for nothing else."""
    if not isinstance(answers, dict):
        got = judge.kind_of(answers)
        raise Mistake(f"Expected a dictionary from (loss, part) to True or False, got {got}.")
    unknown = [key for key in answers if key not in truth]
    if unknown:
        raise Mistake(
            f"{unknown[0]!r} is not a pair of a loss ({', '.join(LOSSES)}) and a part "
            f"({', '.join(PARTS)})."
        )
    missing = [key for key in truth if not isinstance(answers.get(key), bool)]
    if missing:
        raise Mistake(
            f"Answer True or False for all 15 pairs. Missing: {len(missing)}, first {missing[0]}."
        )


@judge.told
def who_learns(answers: Any) -> str:
    """Chapter 4, stretch: {(loss, part): bool}, does this loss send a gradient to this part?

    Losses "q", "s1", "s2" and parts "reducer", "compare", "support_branch", "query_branch",
    "aspp" of CANet's head, guided by pri and aux. Takes the dictionary, or a function without
    arguments that returns it.
    """
    answers, truth = judge.value_of(answers), gradients()
    _check_answers(answers, truth)
    wrong = [key for key in truth if answers[key] != truth[key]]
    if not wrong:
        return "all 15; autograd agrees"
    count, said = f"{len(truth) - len(wrong)} of 15 are right", set(answers.values())
    if len(said) == 1:
        every = said.pop()
        hint = "one of the passes never runs through" if every else "every pass runs through"
        raise Mistake(f"{count}, but you answered {every} everywhere. Is there a part that {hint}?")
    loss, part = wrong[0]
    question = QUESTIONS[part, answers[loss, part]]
    raise Mistake(f"{count}. Think again about loss {loss!r} and part {part!r}: {question}")


def _score_maps(*answer: Any) -> tuple[Tensor, Tensor]:
    """Take both score maps, [2, 2, h, w], and the mask once for each, [2, h, w]."""
    a, b, mask = judge.values_of(answer, ("a [2, h, w]", "b [2, h, w]", "mask [h, w]"))
    a = judge.finite(a, "a", (2, None, None))
    b = judge.finite(b, "b", tuple(a.shape))
    mask = judge.finite(mask, "mask", tuple(a.shape[1:]))
    judge.check_holds(mask, "mask", 0, 1, IGNORE)
    mask = mask.long()
    if not (mask == 1).any():
        raise Mistake("There is no object in your mask, so there is no IoU to speak of.")
    return torch.stack([a, b]), mask.expand(2, -1, -1)


@judge.told
def loss_is_not_the_metric(*answer: Any) -> str:
    """Chapter 4, open: (a [2, h, w], b [2, h, w], mask [h, w]), two score maps for one mask.

    a must have the lower cross-entropy, and yet the lower IoU of its argmax. Takes the three
    tensors, a tuple of them, or a function without arguments that returns it.
    """
    both, masks = _score_maps(*answer)
    pairs = zip(both.split(1), masks.split(1), strict=True)
    loss = [float(_right_entropy(*pair)) for pair in pairs]
    iou = fusion.pair_iou(both.argmax(dim=1), masks).tolist()
    numbers = f"cross-entropy {loss[0]:.3f} and {loss[1]:.3f}, IoU {iou[0]:.2f} and {iou[1]:.2f}"
    equal = [n for n, x in (("IoU", iou), ("cross-entropy", loss)) if abs(x[0] - x[1]) < 1e-6]
    if equal:
        raise Mistake(f"The {equal[0]} of a and b is equal ({numbers}): that of a must be lower.")
    if loss[0] < loss[1] and iou[0] < iou[1]:
        return f"{numbers} for a and b: the lower loss has the lower IoU"
    if loss[0] > loss[1] and iou[0] > iou[1]:
        raise Mistake(f"Nearly: exchange a and b, and it is what was asked for ({numbers}).")
    better = "a" if iou[0] > iou[1] else "b"
    raise Mistake(
        f"Loss and IoU both prefer {better} ({numbers}). One counts how sure a pixel is, the other "
        "only on which side it falls."
    )
