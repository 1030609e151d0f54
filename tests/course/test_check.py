"""The exercises: right answers pass, and typical wrong ones are told what is wrong with them."""

import inspect
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from nbformat import from_dict

from scl.course import check
from scl.course.check import (
    chapter01,
    chapter02,
    chapter03,
    chapter04,
    chapter05,
    chapter06,
    chapter07,
    chapter08,
    chapter09,
)
from scl.course.handouts import handout
from scl.course.notebooks import has_tag, read, tagged_cells
from scl.method.vectors import masked_gap

ROOT = Path(__file__).resolve().parents[2]

# ------------------------------------------------------------------ solutions, as in the notebooks

SOLUTIONS = {
    "miou": '''
def my_miou(found, truth, labels):
    """mIoU in 0..1 from found [E, H, W], truth [E, H, W] with 255, and labels [E]."""
    ### BEGIN SOLUTION
    known = truth != 255
    inside = (found == 1) & (truth == 1)
    either = ((found == 1) | (truth == 1)) & known
    scores = []
    for label in labels.unique():
        mine = labels == label
        scores.append(inside[mine].sum() / either[mine].sum())
    return torch.stack(scores).mean()
    ### END SOLUTION
''',
    "episodes_needed": '''
def my_episodes_needed(a, b, wanted):
    """Episodes until half a 95 % interval of the mean of a - b, [E], is `wanted`."""
    ### BEGIN SOLUTION
    spread = (a - b).std()
    return torch.ceil((1.96 * spread / wanted) ** 2)
    ### END SOLUTION
''',
    "averages_disagree": '''
def my_disagreement():
    """Two methods and the truth, [E, h, w] each: a better by pixels, b by episodes."""
    ### BEGIN SOLUTION
    truth = torch.zeros(3, 6, 6)
    truth[0, 1:6, 1:6] = 1
    truth[1:, 1, 1] = 1
    a, b = truth.clone(), truth.clone()
    a[1:] = 0
    b[0, 3:] = 0
    return a, b, truth
    ### END SOLUTION
''',
    "masked_gap": '''
def my_masked_gap(features, mask):
    """Eq. 1: features [N, d, h, w] and mask [N, h, w] to [N, d]; an empty mask gives zeros."""
    ### BEGIN SOLUTION
    total = (features * mask.unsqueeze(1)).sum(dim=(2, 3))
    area = mask.sum(dim=(1, 2)).unsqueeze(1)
    return total / area.clamp(min=1)
    ### END SOLUTION
''',
    "merge_averages": '''
def my_merge(v_a, area_a, v_b, area_b):
    """The average [d] over two regions without a common cell; zeros where both are empty."""
    ### BEGIN SOLUTION
    area = area_a + area_b
    if area == 0:
        return torch.zeros_like(v_a)
    return (area_a * v_a + area_b * v_b) / area
    ### END SOLUTION
''',
    "same_average": '''
def my_pair():
    """Two objects with the same v_s: maps [2, d, h, w] and masks [2, h, w]."""
    ### BEGIN SOLUTION
    masks = torch.zeros(2, 4, 4)
    masks[:, 1:3, 1:3] = 1
    plain = torch.tensor([5.0, 2.0]).reshape(2, 1, 1) * masks[0]
    mixed = torch.zeros(2, 4, 4)
    mixed[0, 1:3, 1:3] = torch.tensor([[2.0, 4.0], [6.0, 8.0]])
    mixed[1, 1:3, 1:3] = torch.tensor([[1.0, 1.0], [3.0, 3.0]])
    return torch.stack([plain, mixed]), masks
    ### END SOLUTION
''',
    "split_regions": '''
def my_regions(mask, predicted):
    """Eq. 5-6: mask (0, 1, 255) and predicted (0, 1), both [N, H, W], to (found, lost)."""
    ### BEGIN SOLUTION
    inside = mask == 1
    return inside & (predicted == 1), inside & (predicted != 1)
    ### END SOLUTION
''',
    "two_vectors": '''
def my_two_vectors(features, mask, predicted):
    """Eq. 5-6: (v_pri, v_aux), [N, d] each; an empty region takes v_s."""

    ### BEGIN SOLUTION
    def average(region):
        total = (features * region.unsqueeze(1)).sum(dim=(2, 3))
        return total / region.sum(dim=(1, 2)).clamp(min=1).unsqueeze(1)

    found = mask * predicted
    regions, v_s = (found, mask - found), average(mask)
    some = [region.sum(dim=(1, 2)).unsqueeze(1) > 0 for region in regions]
    return tuple(torch.where(s, average(r), v_s) for s, r in zip(some, regions, strict=True))
    ### END SOLUTION
''',
    "own_split": '''
def my_split(features, mask):
    """Two regions [h, w] that share out the object, with averages as different as you can."""
    ### BEGIN SOLUTION
    v_s = (features * mask).sum(dim=(1, 2)) / mask.sum()
    cosine = F.cosine_similarity(features, v_s[:, None, None], dim=0)
    typical = mask * (cosine > cosine[mask == 1].mean())
    return typical, mask - typical
    ### END SOLUTION
''',
    "cross_entropy": '''
def my_cross_entropy(logits, mask):
    """Eq. 7: logits [N, 2, h, w] and mask [N, h, w] of 0, 1 and 255 (unknown) to one number."""
    ### BEGIN SOLUTION
    known = mask != 255
    true_class = torch.where(known, mask, 0).unsqueeze(1)
    log_p = logits.log_softmax(dim=1).gather(1, true_class).squeeze(1)
    return -(log_p * known).sum() / known.sum()
    ### END SOLUTION
''',
    "who_learns": '''
def my_answers():
    """Does the loss send a gradient to the part? {(loss, part): True or False}, 15 in all."""
    ### BEGIN SOLUTION
    support = {"reducer", "compare", "support_branch", "aspp"}
    query = {"reducer", "compare", "query_branch", "aspp"}
    runs = {"q": query, "s1": support, "s2": support}
    return {(loss, part): part in runs[loss] for loss in runs for part in support | query}
    ### END SOLUTION
''',
    "loss_is_not_the_metric": '''
def my_maps():
    """Score maps a and b [2, h, w] and a mask [h, w]: a has the lower loss and the lower IoU."""
    ### BEGIN SOLUTION
    mask = torch.tensor([[1, 1, 0, 0]])
    sure_but_one_wrong = torch.tensor([[-0.1, 9.0, -9.0, -9.0]])
    right_but_unsure = torch.tensor([[0.1, 0.1, -0.1, -0.1]])
    background = torch.zeros(1, 4)
    a = torch.stack([background, sure_but_one_wrong])
    b = torch.stack([background, right_but_unsure])
    return a, b, mask
    ### END SOLUTION
''',
    "several_priors": '''
def my_prior(cosines, masks):
    """The prior of K supports: cosines [N, K, m, n] and masks [N, K, n] to [N, m]."""
    ### BEGIN SOLUTION
    best = (cosines * masks.unsqueeze(2)).amax(dim=3)
    low, high = best.amin(dim=2, keepdim=True), best.amax(dim=2, keepdim=True)
    return ((best - low) / (high - low).clamp(min=1e-7)).mean(dim=1)
    ### END SOLUTION
''',
    "ring": '''
def my_ring(x, weight, rate):
    """x [N, c, h, w], weight [d, c, 3, 3] to [N, d, h, w]: nine cells, `rate` apart."""
    ### BEGIN SOLUTION
    h, w = x.shape[-2:]
    wide = F.pad(x, (rate, rate, rate, rate))
    total = 0
    for i in range(3):
        for j in range(3):
            moved = wide[:, :, i * rate : i * rate + h, j * rate : j * rate + w]
            total = total + torch.einsum("dc,nchw->ndhw", weight[:, :, i, j], moved)
    return total
    ### END SOLUTION
''',
    "own_map": '''
def my_map(query, support, mask):
    """A map [h, w] from query and support [C, h, w] and mask [h, w]: high on the object."""
    ### BEGIN SOLUTION
    query, support = (x - x.mean(dim=(1, 2), keepdim=True) for x in (query, support))
    v_s = (support * mask).sum(dim=(1, 2)) / mask.sum()
    return F.cosine_similarity(query, v_s[:, None, None], dim=0)
    ### END SOLUTION
''',
    "confidence": '''
def my_confidence(mutual):
    """Eq. 16: mutual [B, K, K] to scores [B, K]."""
    ### BEGIN SOLUTION
    return mutual.mean(dim=2)
    ### END SOLUTION
''',
    "fuse": '''
def my_fuse(logits, scores):
    """Eq. 17: logits [B, K, 2, H, W] and scores [B, K] to probabilities [B, 2, H, W]."""
    ### BEGIN SOLUTION
    weighted = scores[:, :, None, None, None] * logits
    return (weighted.sum(dim=1) / logits.shape[1]).softmax(dim=1)
    ### END SOLUTION
''',
    "own_score": '''
def my_score(mutual):
    """Scores [B, K] of at least 0 from mutual [B, K, K]: the spoiled support should be last."""
    ### BEGIN SOLUTION
    shots = mutual.shape[1]
    others = mutual * (1 - torch.eye(shots))
    guides, is_found = others.sum(dim=2), others.sum(dim=1)
    return (guides + is_found) / (2 * (shots - 1))
    ### END SOLUTION
''',
    "centred": '''
def my_centred(features, there):
    """Take out each picture's mean: features [N, d, h, w], there [N, h, w] of 0, 1."""
    ### BEGIN SOLUTION
    total = (features * there.unsqueeze(1)).sum(dim=(2, 3))
    mean = total / there.sum(dim=(1, 2)).unsqueeze(1)
    return (features - mean[:, :, None, None]) * there.unsqueeze(1)
    ### END SOLUTION
''',
    "part_averages": '''
def my_step(cells, mask, centres):
    """Cells [N, d, h, w], mask [N, h, w] and centres [N, n, d] to new centres."""
    ### BEGIN SOLUTION
    flat = F.normalize(cells, dim=1).flatten(2)
    nearest = (F.normalize(centres, dim=2) @ flat).argmax(dim=1)
    joins = F.one_hot(nearest, centres.shape[1]).movedim(-1, 1)
    joins = joins * mask.flatten(1).unsqueeze(1)
    count = joins.sum(dim=2, keepdim=True)
    means = joins @ cells.flatten(2).transpose(1, 2) / count.clamp(min=1)
    return torch.where(count > 0, means, centres)
    ### END SOLUTION
''',
    "own_rule": '''
def my_rule(support, mask, query):
    """A map [h, w], higher on the object; centred cells [d, h, w], mask [h, w]."""
    ### BEGIN SOLUTION
    known = F.normalize(support.flatten(1), dim=0)
    cosines = F.normalize(query.flatten(1), dim=0).T @ known
    on = mask.flatten() == 1
    nearest = [cosines[:, side].topk(3, dim=1).values.mean(dim=1) for side in (on, ~on)]
    return (nearest[0] - nearest[1]).reshape(mask.shape)
    ### END SOLUTION
''',
    "honest_choice": '''
def my_choice(validation, novel):
    """Novel scores [R] of the checkpoints that validation chooses; both are [R, C]."""
    ### BEGIN SOLUTION
    best = validation.argmax(dim=1)
    return novel[torch.arange(len(novel)), best]
    ### END SOLUTION
''',
    "released_regions": '''
def my_released(mask, predicted):
    """The released split: mask [N, h, w] in 0..1 and predicted of 0 and 1 to (found, lost)."""
    ### BEGIN SOLUTION
    total = mask + predicted
    found, one = total == 2, total == 1
    return found.float(), (one & (mask > 0)).float()
    ### END SOLUTION
''',
    "silent_switches": '''
def my_program(x, a, b):
    """A mask [h, w] of 0 and 1 from x [h, w] in 0..1; the switches a, b act only together."""
    ### BEGIN SOLUTION
    cells = x if a else (x > 0.5).float()  # a: leave the cells soft
    found = cells == 1 if b else cells > 0.5  # b: ask for exactly 1
    return found.float()
    ### END SOLUTION
''',
    "share": '''
def my_share(cells, task, tasks):
    """The cells [n] of job `task` of `tasks`, which count from 0; cells: [N]."""
    ### BEGIN SOLUTION
    return cells[task::tasks]
    ### END SOLUTION
''',
    "comparable": '''
def my_comparable(settings):
    """Which rows of settings [R, S] may be compared, [R, R]; -1 stands for unknown."""
    ### BEGIN SOLUTION
    same = (settings[:, None] == settings[None]).all(dim=2)
    known = (settings != -1).all(dim=1)
    both_known = known[:, None] & known[None]
    return (same & both_known) | torch.eye(len(settings)).bool()
    ### END SOLUTION
''',
    "plan": '''
def my_plan(hours, budget):
    """Seeds [2, 4] of each system in each fold, for `budget` hours in all."""
    ### BEGIN SOLUTION
    pairs = int(budget // hours.sum().item())
    folds = torch.full((4,), pairs // 4)
    folds[: pairs % 4] += 1
    return torch.stack([folds, folds])
    ### END SOLUTION
''',
}
EXERCISES = list(SOLUTIONS)
CODE = re.compile(r"torch\.|\w+\(\w|\bdim\b|lambda|\breturn \w| [*/=] |\*\*|==")


def solution(name):
    """The function that a solution cell defines."""
    space = {"torch": torch, "np": np, "F": F}
    exec(SOLUTIONS[name], space)
    return next(value for key, value in space.items() if key.startswith("my_"))


def told(capsys, passed):
    """What a check said to a wrong answer."""
    assert passed is False
    said = capsys.readouterr()
    assert not said.out and len(said.err.splitlines()) == 1
    assert not CODE.search(said.err), f"a message that shows code: {said.err}"
    return said.err


@pytest.mark.parametrize("name", EXERCISES)
def test_the_solution_is_right(name, capsys):
    assert getattr(check, name)(solution(name)) is True
    said = capsys.readouterr()
    assert said.out.startswith("right: ") and len(said.out.splitlines()) == 1 and not said.err


@pytest.mark.parametrize("name", EXERCISES)
def test_solutions_fit_into_a_cell(name):
    source = SOLUTIONS[name].strip()
    assert len(source.splitlines()) <= 15
    assert {len(line) <= 100 for line in source.splitlines()} == {True}


@pytest.mark.parametrize("name", EXERCISES)
def test_each_exercise_is_documented_with_its_chapter(name):
    assert re.match(r"Chapter \d, (core|stretch|open): ", inspect.getdoc(getattr(check, name)))


# ------------------------------------------------------------------ faults of any function


@pytest.mark.parametrize("name", EXERCISES)
def test_what_is_not_written_yet(name, capsys):
    def todo(*inputs):
        raise NotImplementedError

    assert told(capsys, getattr(check, name)(todo)) == "not written yet\n"


@pytest.mark.parametrize("name", EXERCISES)
def test_an_exception_is_named(name, capsys):
    def broken(*inputs):
        raise KeyError("colour")

    said = told(capsys, getattr(check, name)(broken))
    assert "KeyError" in said and "colour" in said


@pytest.mark.parametrize("name", EXERCISES)
@pytest.mark.parametrize("result", [None, "text", 3.0, (), torch.zeros(0), torch.zeros(1, 7)])
def test_other_things_than_asked_for(name, result, capsys):
    assert "xpected" in told(capsys, getattr(check, name)(lambda *inputs: result))


FUNCTIONS = [name for name in EXERCISES if "function" in getattr(check, name).__annotations__]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_result_in_place_of_the_function(name, capsys):
    assert "without brackets" in told(capsys, getattr(check, name)(torch.zeros(2, 3)))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_changing_what_was_given(name, capsys):
    right = solution(name)

    def careless(*inputs):
        result = right(*inputs)
        inputs[0].mul_(2)
        return result

    assert "in place" in told(capsys, getattr(check, name)(careless))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_nan(name, capsys):
    right = solution(name)

    def undefined(*inputs):
        result = right(*inputs)
        parts = [part * float("nan") for part in result] if type(result) is tuple else None
        return parts or result * float("nan")

    assert "nan" in told(capsys, getattr(check, name)(undefined)).lower()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_any_other_mistake_is_told_by_what_came_out(name, capsys):
    right = solution(name)

    def odd(*inputs):
        result = right(*inputs)
        return tuple(part + 0.5 for part in result) if type(result) is tuple else -0.7 * result

    said = told(capsys, getattr(check, name)(odd))
    assert re.search("expected about|nothing but 0 and 1|negative", said)


def test_an_operation_that_torch_lacks_is_not_taken_for_unwritten(capsys):
    def whole_numbers(logits, mask):
        return logits.long().softmax(dim=1).sum()

    assert "not implemented for" in told(capsys, check.cross_entropy(whole_numbers))


def test_random_answers_are_judged_alike_and_leave_the_generator_alone(capsys):
    def any_halves(features, mask):
        a = mask * (torch.rand(mask.shape) > 0.5)
        return a, mask - a

    before = torch.get_rng_state()
    assert told(capsys, check.own_split(any_halves)) == told(capsys, check.own_split(any_halves))
    check.who_learns(solution("who_learns"))
    assert torch.equal(torch.get_rng_state(), before)


# ------------------------------------------------------------------ typical wrong functions


def sum_under(features, mask):
    return (features * mask.unsqueeze(1)).sum(dim=(2, 3))


def each_area(mask):
    return mask.sum(dim=(1, 2)).unsqueeze(1)


def regions(mask, predicted):
    return mask * predicted, mask * (1 - predicted)


def two(average):
    """v_pri and v_aux by a function of features, region and mask."""
    return lambda f, m, p: tuple(average(f, r, m) for r in regions(m, p))


def only_where_all_are_empty(features, mask, predicted):
    """Looks at the batch as a whole for an empty region."""
    v_s = masked_gap(features, mask)
    pair = regions(mask, predicted)
    return tuple(v_s if r.sum() == 0 else sum_under(features, r) / each_area(r) for r in pair)


def split_some(features, mask):
    """Looks at the cells of some objects alone, and cuts the others in the middle."""
    if mask[0, 0] == 1:
        return solution("own_split")(features, mask)
    a = mask * (torch.arange(12) < 6)
    return a, mask - a


def entropy(logits, mask, **options):
    return F.cross_entropy(logits, mask, ignore_index=255, **options)


def weighted(logits, scores):
    return (scores[..., None, None, None] * logits).sum(dim=1)


def known(f, t):
    """What both mark and what either marks, [E, H, W] each, where it is known."""
    return (f == 1) & (t == 1), ((f == 1) | (t == 1)) & (t != 255)


def per_class(above, below, labels):
    pairs = [(above[labels == c].sum(), below[labels == c].sum()) for c in set(labels.tolist())]
    return torch.stack([a / b for a, b in pairs]).mean()


def ratios(above, below):
    return above.sum(dim=(1, 2)) / below.sum(dim=(1, 2))


def needed(spread, wanted, errors=1.96):
    return torch.ceil((errors * spread / wanted) ** 2)


def nearest(cosines, masks):
    return (cosines * masks.unsqueeze(2)).amax(dim=3)


def stretched(maps, least=1e-7):
    low, high = maps.amin(dim=-1, keepdim=True), maps.amax(dim=-1, keepdim=True)
    return (maps - low) / (high - low).clamp(min=least)


WRONG = {
    "miou": [
        (lambda f, t, n: ratios(*known(f, t)), "each episode"),
        (lambda f, t, n: ratios(*known(f, t)).mean(), "IoUs of single episodes"),
        (
            lambda f, t, n: torch.stack(
                [ratios(*known(f, t))[n == c].mean() for c in set(n.tolist())]
            ).mean(),
            "within a class",
        ),
        (lambda f, t, n: known(f, t)[0].sum() / known(f, t)[1].sum(), "of one class"),
        (
            lambda f, t, n: per_class(f * (t == 1), ((f + (t == 1)) > 0), n),
            "counted as background",
        ),
        (lambda f, t, n: per_class(f * (t > 0), ((f + (t > 0)) > 0), n), "counted as object"),
        (lambda f, t, n: per_class(f & t, f | t, n), "into bits"),
        (lambda f, t, n: per_class(known(f, t)[0], t == 1, n), "area of the truth"),
        (lambda f, t, n: per_class(known(f, t)[0], f * (t != 255), n), "area that was found"),
        (lambda f, t, n: per_class(known(f, t)[0], f * (t != 255) + (t == 1), n), "twice"),
        (lambda f, t, n: per_class(f.float() & t.float(), f, n), "not implemented for"),
        (lambda f, t, n: float(solution("miou")(f, t, n)), "type float"),
    ],
    "episodes_needed": [
        (lambda a, b, w: needed((a - b).std(), w / 2), "whole interval"),
        (lambda a, b, w: needed((a - b).std(), w, 1), "about two"),
        (lambda a, b, w: torch.ceil(1.96 * (a - b).std() / w), "as one over the root"),
        (lambda a, b, w: needed((a.var() + b.var()) ** 0.5, w), "episodes of its own"),
        (lambda a, b, w: needed(a.std(), w), "one method"),
        (lambda a, b, w: needed((a - b).var(), w), "variance"),
        (lambda a, b, w: (1.96 * (a - b).std() / w) ** 2, "fraction of an episode"),
        (lambda a, b, w: torch.floor((1.96 * (a - b).std() / w) ** 2), "One too few"),
        (lambda a, b, w: needed((a - b).std(), w).repeat(2), "has shape [2], expected []"),
    ],
    "masked_gap": [
        (lambda f, m: f.mean(dim=(2, 3)), "mask makes no difference"),
        (lambda f, m: sum_under(f, m) / 30, "not by those under the mask"),
        (lambda f, m: sum_under(f, m).sum(dim=0) / m.sum(), "pooled together"),
        (lambda f, m: (sum_under(f, m).sum(dim=0) / m.sum()).repeat(3, 1), "pooled together"),
        (lambda f, m: sum_under(f, m) / m.sum(), "area of all masks"),
        (sum_under, "make it an average"),
        (lambda f, m: masked_gap(f, 1 - m), "outside the mask"),
        (lambda f, m: (f + 100 * (m[:, None] - 1)).amax(dim=(2, 3)), "largest value"),
        (lambda f, m: sum_under(f, m) / each_area(m), "0 was divided by 0"),
        (lambda f, m: f * m.unsqueeze(1), "has shape [3, 3, 5, 6], expected [3, 3]"),
        (lambda f, m: (f * m).sum(dim=(2, 3)) / each_area(m), "masks met the channels"),
        (lambda f, m: (f * m).sum(dim=(2, 3)) / m.sum(dim=(1, 2)), "masks met the channels"),
        (lambda f, m: sum_under(f, m) / m.sum(dim=(1, 2)), "which axis is missing"),
        (lambda f, m: f.sum(dim=3) * m, "RuntimeError"),
        (lambda f, m: f.sum(dim=3) * m, "which axis does one of them lack"),
        (lambda f, m: masked_gap(f, m).numpy(), "got a value of type ndarray"),
        (lambda f, m: print(end=""), "is there a return?"),
    ],
    "merge_averages": [
        (lambda a, m, b, n: (a + b) / 2, "plain mean"),
        (lambda a, m, b, n: (n * a + m * b) / (m + n), "swapped"),
        (lambda a, m, b, n: a + b, "added the two averages"),
        (lambda a, m, b, n: m * a + n * b, "not yet their average"),
        (lambda a, m, b, n: (m * a + n * b) / 2, "number of regions"),
        (lambda a, m, b, n: (m * a + max(n, 1) * b) / (m + max(n, 1)), "still pulls"),
        (
            lambda a, m, b, n: 0 * a if 0 in (m, n) else (m * a + n * b) / (m + n),
            "a region and nothing",
        ),
        (lambda a, m, b, n: (m * a + n * b) / (m + n), "two empty regions NaN"),
        (lambda a, m, b, n: m / (m + n) * a + n / (m + n) * b, "ZeroDivisionError"),
    ],
    "split_regions": [
        (lambda m, p: (m * (1 - p), m * p), "swapped"),
        (lambda m, p: (p, m * (1 - p)), "false alarms"),
        (lambda m, p: (m * p, 1 - p), "lost holds background"),
        (lambda m, p: (p, 1 - p), "false alarms"),
        (lambda m, p: ((m * p).bool(), m.bool() ^ p.bool()), "disagree"),
        (lambda m, p: (m * p, (1 - m) * p), "the opposite"),
        (lambda m, p: (torch.maximum(m, p.float()), m * (1 - p)), "takes both"),
        (lambda m, p: (m * p, m), "whole object"),
        (lambda m, p: (m * p, m * ~p), "turns the bits"),
        (lambda m, p: m * p, "Expected 2 tensors, found and lost"),
        (lambda m, p: (m * p, m & ~p), "Error"),
        (lambda m, p: (m & p, m * (1 - p)), "work on True and False"),
        (lambda m, p: (m * p, m * ~p.bool()), "marks 255"),
        (lambda m, p: (m * p, m - p), "lost holds -1"),
        (lambda m, p: (m - p, m * (1 - p)), "found holds mask minus prediction"),
        (lambda m, p: (m * p, m * (1 - p)), "marks 255"),
        (lambda m, p: (m.bool() & p.bool(), m.bool() & ~p.bool()), "marks 255"),
        (lambda m, p: (m.long() & p, m.long() & (1 - p)), "marks 255"),
    ],
    "two_vectors": [
        (two(lambda f, r, m: sum_under(f, r) / each_area(r)), "came out as NaN"),
        (only_where_all_are_empty, "each image of the batch"),
        (two(lambda f, r, m: masked_gap(f, r)), 'rule empty="zero"'),
        (two(lambda f, r, m: sum_under(f, r) / each_area(m)), "area of the whole mask"),
        (
            lambda f, m, p: (
                solution("two_vectors")(f, m, p)[0],
                masked_gap(f, regions(m, p)[1]),
            ),
            'rule empty="zero"',
        ),
        (lambda f, m, p: solution("two_vectors")(f, m, p)[::-1], "swapped"),
        (lambda f, m, p: (masked_gap(f, p), masked_gap(f, m * (1 - p))), "false alarms"),
        (lambda f, m, p: (masked_gap(f, m * p), masked_gap(f, 1 - p)), "background included"),
        (two(lambda f, r, m: sum_under(f, r)), "without dividing"),
        (two(lambda f, r, m: masked_gap(f, r)[:, :2]), "v_pri has shape [2, 2], expected [2, 4]"),
    ],
    "own_split": [
        (lambda f, m: (m, m), "nothing was split"),
        (lambda f, m: (torch.ones_like(m), 0 * m), "outside the mask"),
        (lambda f, m: (m, m * (f[0] > 0)), "overlap"),
        (lambda f, m: (m, 0 * m), "empty"),
        (lambda f, m: (m * (f[0] > 1), m * (f[0] < -1)), "missing"),
        (lambda f, m: (m * torch.rand(m.shape).round(), m), "overlap"),
        (lambda f, m: (m / 2, m / 2), "nothing but 0 and 1"),
        (
            lambda f, m: (m * (torch.arange(12) < 6), m * (torch.arange(12) >= 6)),
            "No better than chance",
        ),
        (split_some, "beat all random halves"),
        (lambda f, m: (m[None], m[None]), "has shape [1, 12, 12]"),
    ],
    "cross_entropy": [
        (lambda x, m: entropy(x, m, reduction="sum"), "added up"),
        (lambda x, m: entropy(x, m, reduction="sum") / 2, "number of images"),
        (lambda x, m: F.cross_entropy(x, (m == 1).long()), "counted as background"),
        (lambda x, m: F.cross_entropy(x, (m > 0).long()), "counted as object"),
        (lambda x, m: entropy(x, m, reduction="sum") / m.numel(), "in the divisor"),
        (
            lambda x, m: torch.stack([entropy(x[[n]], m[[n]]) for n in range(2)]).mean(),
            "each image first",
        ),
        (lambda x, m: -entropy(x, m), "sign"),
        (lambda x, m: F.nll_loss(x, m, ignore_index=255), "as they are"),
        (lambda x, m: F.nll_loss(x.log(), m, ignore_index=255), "logarithm of logits"),
        (lambda x, m: F.nll_loss(x.softmax(1), m, ignore_index=255), "logarithm of Eq. 7"),
        (lambda x, m: entropy(x.flip(1), m), "classes are swapped"),
        (lambda x, m: F.nll_loss(x.log_softmax(3), m, ignore_index=255), "dimension 3"),
        (lambda x, m: entropy(x, m, reduction="none"), "expected []"),
        (lambda x, m: F.cross_entropy(x, m, ignore_index=-1), "IndexError|out of bounds"),
        (lambda x, m: float(entropy(x, m)), "type float"),
    ],
    "several_priors": [
        (lambda c, m: nearest(c, torch.ones_like(m)).mean(dim=1), "make no difference"),
        (lambda c, m: stretched(nearest(c, torch.ones_like(m))).mean(dim=1), "make no difference"),
        (lambda c, m: stretched(nearest(c, 1 - m)).mean(dim=1), "outside the mask"),
        (lambda c, m: nearest(c, m).mean(dim=1), "Nothing is stretched"),
        (lambda c, m: stretched(nearest(c, m).mean(dim=1, keepdim=True))[:, 0], "averaged the sup"),
        (lambda c, m: stretched(nearest(c, m)).amax(dim=1), "best of the supports"),
        (lambda c, m: (nearest(c, m) / nearest(c, m).amax(dim=2)[..., None]).mean(dim=1), "alone"),
        (
            lambda c, m: stretched(nearest(c, m).flatten(1)).reshape(*c.shape[:3]).mean(dim=1),
            "stretched together",
        ),
        (
            lambda c, m: stretched(nearest(c, m).flatten()).reshape(c.shape[:3]).mean(dim=1),
            "whole batch",
        ),
        (
            lambda c, m: stretched((c * m[:, :, None]).sum(3) / m.sum(2)[..., None]).mean(dim=1),
            "asks for the nearest",
        ),
        (lambda c, m: stretched(nearest(c, m), 0).mean(dim=1), "0 was divided by 0"),
        (lambda c, m: stretched(nearest(c, m)), "has shape [2, 3, 6], expected [2, 6]"),
        (lambda c, m: (c * m).amax(dim=3), "RuntimeError"),
        (lambda c, m: (c & m[:, :, None]).amax(dim=3), "Error"),
    ],
    "ring": [
        (lambda x, w, r: F.conv2d(x, w, padding=1), "rate makes no difference"),
        (lambda x, w, r: F.conv2d(x, w.flip(2, 3), padding=r, dilation=r), "turned around"),
        (lambda x, w, r: F.conv2d(x, w.mT, padding=r, dilation=r), "exchanged"),
        (lambda x, w, r: F.conv2d(F.pad(x, [r] * 4, "replicate"), w, dilation=r), "At the rim"),
        (lambda x, w, r: F.conv2d(x, w, dilation=r), "became smaller"),
        (lambda x, w, r: F.conv2d(x, w, padding=r, dilation=r) / 9, "adds them up"),
        (lambda x, w, r: F.conv2d(x, w.transpose(0, 1), padding=r, dilation=r), "RuntimeError"),
    ],
    "own_map": [
        (lambda q, s, m: torch.ones(9, 9), "same everywhere"),
        (lambda q, s, m: F.cosine_similarity(q, s[:, m == 1].mean(1)[:, None, None], 0), "clearly"),
        (lambda q, s, m: q.norm(dim=0), "better than the prior|upside down"),
        (lambda q, s, m: -solution("own_map")(q, s, m), "upside down"),
        (lambda q, s, m: q * m, "has shape [12, 9, 9], expected [9, 9]"),
        (lambda q, s, m: q[0] / 0, "infinite"),
    ],
    "confidence": [
        (lambda u: u.mean(dim=1), "wrong axis"),
        (lambda u: u.sum(dim=2), "without averaging"),
        (lambda u: u.amax(dim=2), "lucky pair"),
        (lambda u: u.mean(dim=2).softmax(dim=1), "softmax"),
        (lambda u: u.sum(dim=2) / u.sum(dim=(1, 2))[:, None], "sum to 1"),
        (
            lambda u: (u * (1 - torch.eye(u.shape[1]))).sum(dim=2) / (u.shape[1] - 1),
            "prediction of itself. A reasonable",
        ),
        (lambda u: u.diagonal(dim1=1, dim2=2), "Only each support's"),
        (lambda u: u.sum(dim=2) / 5, "divided by 5"),
        (lambda u: u.mean(dim=(1, 2)), "has shape [2], expected [2, 4]"),
    ],
    "fuse": [
        (lambda x, u: x.mean(dim=1).softmax(dim=1), "make no difference"),
        (lambda x, u: x.softmax(dim=2).mean(dim=1), "make no difference"),
        (lambda x, u: weighted(x.softmax(dim=2), u) / x.shape[1], "before the softmax"),
        (
            lambda x, u: weighted(x.softmax(dim=2), u / u.sum(dim=1, keepdim=True)),
            "before the softmax",
        ),
        (
            lambda x, u: weighted(x, u / u.sum(dim=1, keepdim=True)).softmax(dim=1),
            "sum of the scores",
        ),
        (lambda x, u: (weighted(x, u) / 5).softmax(dim=1), "divided by 5"),
        (lambda x, u: weighted(x, u).softmax(dim=1), "without dividing"),
        (
            lambda x, u: F.one_hot(x.argmax(dim=2), 2).float().mean(dim=1).movedim(-1, 1),
            "vote",
        ),
        (lambda x, u: weighted(x, u) / x.shape[1], "probabilities are asked for"),
        (lambda x, u: (weighted(x, u) / x.shape[1]).softmax(dim=2), "expected about"),
    ],
    "own_score": [
        (lambda u: torch.ones(u.shape[:2]), "same score"),
        (lambda u: u.diagonal(dim1=1, dim2=2), "with itself"),
        (lambda u: 1 - u.diagonal(dim1=1, dim2=2), "with itself"),
        (lambda u: u.mean(dim=2), "That is Eq. 16"),
        (lambda u: u.sum(dim=2).softmax(dim=1), "That is Eq. 16"),
        (lambda u: -u.mean(dim=2), "negative"),
        (lambda u: u.mean(dim=(1, 2)), "has shape [400], expected [400, 5]"),
        (lambda u: u.amin(dim=2), "does not beat Eq. 16"),
        (lambda u: u.sum(dim=2) - u.diagonal(dim1=1, dim2=2), "does not beat Eq. 16"),
        (lambda u: u.mean(dim=2) / 0, "infinite"),
    ],
    "centred": [
        (lambda f, t: f - f.mean(dim=(2, 3), keepdim=True), "must stay zero"),
        (lambda f, t: (f - f.mean(dim=(2, 3), keepdim=True)) * t[:, None], "number of cells"),
        (lambda f, t: f - masked_gap(f, t)[:, :, None, None], "filled-up cells as well"),
        (lambda f, t: f - f.mean(dim=(0, 2, 3), keepdim=True), "whole batch|expected about"),
        (lambda f, t: f - f.mean(dim=1, keepdim=True), "channels of each cell"),
        (lambda f, t: masked_gap(f, t), "means came out"),
        (lambda f, t: f - masked_gap(f, t), "Error"),
        (lambda f, t: f * t, "Error"),
        (lambda f, t: F.layer_norm(f, f.shape[1:]), "expected about"),
    ],
    "part_averages": [
        (lambda x, m, c: c, "as they were"),
        (lambda x, m, c: solution("part_averages")(x, torch.ones_like(m), c), "background"),
        (lambda x, m, c: F.normalize(solution("part_averages")(x, m, c), dim=2), "expected about"),
        (lambda x, m, c: masked_gap(x, m)[:, None].expand_as(c), "expected about"),
        (lambda x, m, c: masked_gap(x, m), "has shape [2, 4], expected [2, 3, 4]"),
    ],
    "own_rule": [
        (lambda s, m, q: torch.ones_like(m), "same everywhere"),
        (lambda s, m, q: m + s[0], "depend on the query"),
        (lambda s, m, q: q[0], "depend on the support"),
        (
            lambda s, m, q: F.cosine_similarity(
                q, masked_gap(s[None], m[None])[0, :, None, None], 0
            ),
            "ranks all cells alike",
        ),
        (lambda s, m, q: -solution("own_rule")(s, m, q), "like a negative"),
        (
            lambda s, m, q: (q * masked_gap(s[None], m[None])[0, :, None, None]).sum(dim=0),
            "does not beat",
        ),
        (lambda s, m, q: solution("own_rule")(s, m, q)[None], "has shape [1, 12, 12]"),
    ],
    "honest_choice": [
        (lambda v, n: n.amax(dim=1), "chose on the novel classes"),
        (lambda v, n: v.amax(dim=1), "did the choosing"),
        (lambda v, n: n[:, v.mean(dim=0).argmax()], "one checkpoint for all"),
        (lambda v, n: n[:, -1], "last checkpoint"),
        (lambda v, n: n[:, v.argmax(dim=1)], "every run's checkpoint"),
        (lambda v, n: n.gather(1, v.argmax(dim=1)), "RuntimeError"),
        (lambda v, n: n.gather(1, v.argmax(dim=1)[:, None]), "in a column"),
        (lambda v, n: n[torch.arange(len(n)), v.argmax(dim=1)].mean(), "their spread"),
        (lambda v, n: n[v.argmax(dim=0)], "expected [6]"),
    ],
    "released_regions": [
        (lambda m, p: (m * p, m - m * p), "paper's split"),
        (lambda m, p: ((m + p == 2).float(), (m + p == 1).float()), "also has the sum 1"),
        (lambda m, p: ((m + p > 1).float(), ((m + p == 1) & (m > 0)).float()), "soft cells"),
        (lambda m, p: ((m.round() + p == 2).float(), m - m.round() * p), "rounded the soft"),
        (lambda m, p: ((m + p == 2).float(), (m > 0).float()), "expected about"),
        (lambda m, p: ((m + p == 2).float(), m - p), "is no region"),
        (lambda m, p: (m & p, m & ~p), "not implemented for"),
        (lambda m, p: m + p == 2, "Expected 2 tensors, found and lost"),
    ],
    "share": [
        (lambda c, t, n: c, "more than one job"),
        (lambda c, t, n: c[t], "expected [n]"),
        (lambda c, t, n: c[t * (len(c) // n) : (t + 1) * (len(c) // n)], "Nobody computes 28"),
        (lambda c, t, n: c[(t - 1) :: n] if t else c[:0], "the number 0"),
        (lambda c, t, n: torch.arange(len(c))[t::n], "no cell of the list"),
        (lambda c, t, n: c[t * 3 : t * 3 + 3] if len(c) > 8 else c[t::n], "idle"),
        (lambda c, t, n: c.tolist()[t::n], "type list"),
    ],
    "comparable": [
        (lambda s: (s[:, None] == s).any(dim=2), "any one setting"),
        (lambda s: (s[:, None] == s).all(dim=2), "need not be the same"),
        (lambda s: s[:, None, 0] == s[:, 0], "Only the first"),
        (lambda s: (s[:, None] == s).float().mean(dim=2), "share of settings"),
        (lambda s: (s[:, None] == s).all(dim=2) & (s >= 0).all(dim=1), "even with itself"),
        (lambda s: (s == s[0]).all(dim=1), "has shape [7], expected [7, 7]"),
    ],
    "plan": [
        (lambda h, b: torch.full((2, 4), 9), "hours, and there are"),
        (lambda h, b: torch.tensor([[12, 0, 0, 0]] * 2), "needs both systems"),
        (lambda h, b: torch.tensor([[4, 4, 4, 4], [2, 2, 2, 2]]), "without its partner"),
        (lambda h, b: torch.ones(2, 4), "single seed"),
        (lambda h, b: torch.full((2, 4), 2), "another pair of runs"),
        (lambda h, b: torch.tensor([[9, 1, 1, 1]] * 2), "way of sharing them out"),
        (lambda h, b: torch.full((2, 4), 1.5), "must be whole"),
        (lambda h, b: torch.ones(4), "expected [2, 4]"),
    ],
}


@pytest.mark.parametrize(
    ("name", "wrong", "words"),
    [(name, *pair) for name, pairs in WRONG.items() for pair in pairs],
    ids=[f"{name}-{words}" for name, pairs in WRONG.items() for _, words in pairs],
)
def test_a_typical_wrong_function_is_diagnosed(name, wrong, words, capsys):
    said = told(capsys, getattr(check, name)(wrong))
    assert any(word in said for word in words.split("|")), said


SLIPS = {
    "miou": chapter01.MIOU_SLIPS,
    "episodes_needed": chapter01.NEEDED_SLIPS,
    "masked_gap": chapter02.GAP_SLIPS,
    "merge_averages": chapter02.MERGE_SLIPS,
    "split_regions": chapter03.SPLIT_SLIPS,
    "two_vectors": chapter03.TWO_SLIPS,
    "cross_entropy": chapter04.ENTROPY_SLIPS,
    "several_priors": chapter05.PRIOR_SLIPS,
    "ring": chapter05.RING_SLIPS,
    "confidence": chapter06.CONFIDENCE_SLIPS,
    "fuse": chapter06.FUSE_SLIPS,
    "centred": chapter07.CENTRE_SLIPS,
    "part_averages": chapter07.PART_SLIPS,
    "honest_choice": chapter08.CHOICE_SLIPS,
    "released_regions": chapter08.RELEASED_SLIPS,
    "comparable": chapter09.COMPARE_SLIPS,
}


@pytest.mark.parametrize("name", SLIPS)
def test_each_slip_is_told_in_its_own_words(name, capsys):
    right = solution(name)
    for slip in SLIPS[name]:

        def slipped(*inputs, slip=slip):
            wrong = slip.answer(*inputs)
            if isinstance(wrong, torch.Tensor):
                return wrong
            return tuple(r if w is None else w for r, w in zip(right(*inputs), wrong, strict=True))

        assert told(capsys, getattr(check, name)(slipped)) == f"{slip.says}\n"


# ------------------------------------------------------------------ values: chapter 1, open

METHODS = [
    (lambda a, b, t: (b, a, t), "exchange a and b"),
    (lambda a, b, t: (t, b, t), "Both ways prefer a"),
    (lambda a, b, t: (a, t, t), "Both ways prefer b"),
    (lambda a, b, t: (a, a, t), "added up, a and b are equally good"),
    (lambda a, b, t: (a[:1], b[:1], t[:1]), "single episode"),
    (lambda a, b, t: (a, b, t * 0), "without an object"),
    (lambda a, b, t: (a, b * 2, t), "nothing but 0 and 1"),
    (lambda a, b, t: (a[0], b, t), "a has shape [6, 6], expected [3, 6, 6]"),
    (lambda a, b, t: (a, b), "Expected 3 tensors"),
]


@pytest.mark.parametrize(("change", "words"), METHODS, ids=[words for _, words in METHODS])
def test_methods_that_both_ways_to_average_rank_alike(change, words, capsys):
    values = change(*solution("averages_disagree")())
    assert words in told(capsys, check.averages_disagree(*values))


# ------------------------------------------------------------------ values: chapter 2, open


def changed_pair(change):
    """The solution's pair after a change in place."""
    maps, masks = solution("same_average")()
    change(maps, masks)
    return maps, masks


def copy_first(maps, masks):
    maps[1] = maps[0]


def other_background(maps, masks):
    maps[1] = maps[0]
    maps[1, 0, 0, 0] = 9


def other_order(maps, masks):
    maps[0] = maps[1].flip(2)


def more_often(maps, masks):
    maps[0, :, 1:3], maps[1, :, 1:3] = 3.0, 3.0
    masks[0, 1] = 1


PAIRS = [
    (copy_first, "same object twice"),
    (other_background, "outside the masks"),
    (other_order, "in other places"),
    (more_often, "more often"),
    (lambda maps, masks: maps[0, 1].add_(0.5), "averages differ: in channel 1"),
    (lambda maps, masks: masks[1].zero_(), "mask is empty"),
    (lambda maps, masks: masks[1].mul_(2), "nothing but 0 and 1"),
    (lambda maps, masks: maps[1].div_(0), "NaN"),
]


@pytest.mark.parametrize(("change", "words"), PAIRS, ids=[words for _, words in PAIRS])
def test_pairs_that_do_not_show_it(change, words, capsys):
    assert words in told(capsys, check.same_average(*changed_pair(change)))


def test_a_pair_of_wrong_sizes(capsys):
    maps, masks = solution("same_average")()
    assert "maps has shape [2, 4, 4]" in told(capsys, check.same_average(maps[0], masks))
    assert "masks has shape [1, 4, 4]" in told(capsys, check.same_average(maps, masks[:1]))


@pytest.mark.parametrize("name", ["averages_disagree", "same_average", "loss_is_not_the_metric"])
def test_values_may_be_given_in_three_ways(name):
    function, judge = solution(name), getattr(check, name)
    assert judge(function) and judge(*function()) and judge(function())


# ------------------------------------------------------------------ values: chapter 4


def test_the_truth_about_gradients_is_that_of_autograd():
    truth = chapter04.gradients()
    assert truth == solution("who_learns")() and len(truth) == 15


PAIRS_OF_15 = [(loss, part) for loss in check.LOSSES for part in check.PARTS]
ANSWERS = [
    (dict.fromkeys(PAIRS_OF_15, True), "12 of 15", "True everywhere"),
    (dict.fromkeys(PAIRS_OF_15, False), "3 of 15", "False everywhere"),
    ({("q", "support_branch"): True}, "14 of 15", "What gradient does an argmax"),
    ({("s1", "query_branch"): True}, "14 of 15", "prediction for the support"),
    ({("s1", "aspp"): False, ("s2", "aspp"): False}, "13 of 15", "How many decoders"),
    ({("q", "reducer"): False}, "14 of 15", "is frozen"),
    ({("s2", "compare"): False}, "14 of 15", "beside the cells"),
    ({("q", "query_branch"): False}, "14 of 15", "prediction for the query"),
    ({("s2", "support_branch"): False}, "14 of 15", "Which branch ran"),
    ({("q", "aspp"): None}, "all 15 pairs", "Missing: 1,"),
    ({("q", "decoder"): True}, "'decoder'", "not a pair"),
]


@pytest.mark.parametrize(("changes", "first", "second"), ANSWERS, ids=[a[2] for a in ANSWERS])
def test_wrong_answers_on_gradients_lead_to_a_question(changes, first, second, capsys):
    said = told(capsys, check.who_learns({**solution("who_learns")(), **changes}))
    assert first in said and second in said


def wrong_at(pixel):
    """Score maps for the solution's mask, as sure everywhere, and wrong at one pixel."""
    foreground = torch.tensor([[1.0, 1.0, -1.0, -1.0]])
    foreground[0, pixel] *= -1
    return torch.stack([torch.zeros(1, 4), foreground])


TRIPLES = [
    (lambda a, b, mask: (b, a, mask), "exchange a and b"),
    (lambda a, b, mask: (b * 50, a, mask), "both prefer a"),
    (lambda a, b, mask: (a, b * 50, mask), "both prefer b"),
    (lambda a, b, mask: (b * 50, b, mask), "IoU of a and b is equal"),
    (lambda a, b, mask: (wrong_at(0), wrong_at(2), mask), "cross-entropy of a and b is equal"),
    (lambda a, b, mask: (a, b, mask * 0), "no object in your mask"),
    (lambda a, b, mask: (a, b, mask * 7), "nothing but 0, 1 and 255"),
    (lambda a, b, mask: (a[0], b, mask), "a has shape [1, 4], expected [2, any, any]"),
    (lambda a, b, mask: (a, b[:, :, :3], mask), "b has shape [2, 1, 3], expected [2, 1, 4]"),
    (lambda a, b, mask: (a, b / 0, mask), "NaN"),
    (lambda a, b, mask: (a, b), "Expected 3 tensors"),
]


@pytest.mark.parametrize(("change", "words"), TRIPLES, ids=[words for _, words in TRIPLES])
def test_maps_that_do_not_show_it(change, words, capsys):
    values = change(*solution("loss_is_not_the_metric")())
    assert words in told(capsys, check.loss_is_not_the_metric(*values))


# ------------------------------------------------------------------ chapter 6: the spoiled support


def test_ideas_that_beat_equation_16(capsys):
    def column(mutual):
        return mutual.mean(dim=1)

    def both_ways(mutual):
        return mutual.sum(dim=1) + mutual.sum(dim=2)

    shares = []
    for idea in (column, both_ways):
        assert check.own_score(idea)
        shares.append([int(x) for x in re.findall(r"(\d+)\.\d%", capsys.readouterr().out)])
    assert all(30 <= theirs <= 50 and mine >= theirs + 10 for mine, theirs in shares)


# ------------------------------------------------------------------ chapter 8, open


def soft(x, threshold=0.5):
    return (x > threshold).float()


PROGRAMS = [
    (lambda x, a, b: soft(x, 0.2 if a else 0.5), "a alone changes"),
    (lambda x, a, b: soft(x, 0.2 if b else 0.5), "b alone changes"),
    (lambda x, a, b: soft(x, 0.2 if a or b else 0.5), "a alone changes"),
    (lambda x, a, b: soft(x), "change nothing either"),
    (lambda x, a, b: x, "nothing but 0 and 1"),
    (lambda x, a, b: soft(x)[0], "has shape [9], expected [8, 9]"),
    (lambda x, a, b: None, "is there a return?"),
    (soft, "raised TypeError when given a off and b off"),
]


@pytest.mark.parametrize(("program", "words"), PROGRAMS, ids=[words for _, words in PROGRAMS])
def test_switches_that_do_not_act_together(program, words, capsys):
    assert words in told(capsys, check.silent_switches(program))


# ------------------------------------------------------------------ the exercises of the notebooks


def made_up():
    """A notebook with every exercise of this file."""

    def cell(source, tag):
        kind = {"cell_type": "code", "execution_count": 1, "outputs": []}
        return {**kind, "metadata": {"tags": [tag]}, "source": source}

    cells = []
    for name in EXERCISES:
        defined = re.search(r"def (my_\w+)", SOLUTIONS[name]).group(1)
        cells.append(cell(SOLUTIONS[name].strip(), "solution"))
        cells.append(cell(f"check.{name}({defined})", "check"))
    return from_dict({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


def books():
    """The notebooks that have exercises, and the made-up one."""
    found = {path.stem: read(path) for path in (ROOT / "notebooks").glob("*.ipynb")}
    with_exercises = {n: b for n, b in found.items() if tagged_cells(b, "check")}
    return {"made up": made_up(), **dict(sorted(with_exercises.items()))}


BOOKS = books()


def run_exercises(book):
    """Run the solution and check cells in one namespace; what each check returned."""
    space, results = {"torch": torch, "np": np, "F": F, "check": check}, []
    for cell in book["cells"]:
        source = cell.source
        if has_tag(cell, "solution"):
            exec(source, space)
        elif has_tag(cell, "check"):
            results.append(eval(source.rstrip(";"), space))
    return results


@pytest.mark.parametrize("name", BOOKS)
def test_every_exercise_of_a_notebook_is_right(name, capsys):
    results = run_exercises(BOOKS[name])
    said = capsys.readouterr()
    assert results and all(result is True for result in results), said.err
    assert said.out.count("right: ") == len(results)


@pytest.mark.parametrize("name", BOOKS)
def test_every_exercise_of_a_handout_is_not_written_yet(name, capsys):
    results = run_exercises(handout(BOOKS[name], name))
    said = capsys.readouterr()
    assert results and all(result is False for result in results), said.out
    assert said.err.splitlines() == ["not written yet"] * len(results)


@pytest.mark.parametrize("name", BOOKS)
def test_check_cells_are_one_call(name):
    for cell in tagged_cells(BOOKS[name], "check"):
        assert re.fullmatch(r"check\.\w+\(\w+\);?", cell.source.strip())  # ; hides the True
