"""The equations once more, read from the paper and the description of the released code.

Everything here is written out over pixels, cells and supports in double precision, one image at a
time, and calls none of the functions it checks. Only a single convolution is torch's. The models
are of 8 channels on a tiny backbone; options and rules are those of the full-size systems.
"""

import itertools
import math
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from scl.method.heads import CANetHead
from scl.method.losses import segmentation_loss
from scl.method.pfenet import PFENetHead
from scl.method.refine import query_pass
from scl.method.rules import PAPER, PRESETS, RELEASED_CANET, RELEASED_PFENET, V_S, Guidance, Rules
from scl.method.scl import SCL
from scl.method.vectors import masked_gap, shrink_mask
from scl.models.build import build_model, full_size
from tests.helpers.models import TinyBackbone

torch.set_num_threads(1)

HEADS = ("canet", "pfenet")
on_both_heads = pytest.mark.parametrize("head", HEADS)

# ------------------------------------------------------------------------- arrays, [c, h, w] each


def relu(x):
    return np.maximum(x, 0)


def softmax(logits):
    """Over the first of two maps, background and foreground."""
    powers = np.exp(logits - logits.max(axis=0))
    return powers / (powers[0] + powers[1])


def argmax(logits):
    """A tie is background, the first of the two."""
    _, h, w = logits.shape
    return np.array([[int(logits[1, y, x] > logits[0, y, x]) for x in range(w)] for y in range(h)])


def bilinear(x, size, aligned=True, factor=None):
    """Corners on corners, or centres; factor: the exact zoom where sizes were rounded down."""

    def place(index, old, new):
        if aligned:
            return index * (old - 1) / (new - 1) if new > 1 else 0.0
        return max((index + 0.5) / (factor or new / old) - 0.5, 0.0)

    c, h, w = x.shape
    out = np.zeros((c, *size))
    for i, j in itertools.product(*map(range, size)):
        v, u = place(i, h, size[0]), place(j, w, size[1])
        top, left = min(int(v), h - 1), min(int(u), w - 1)
        bottom, right = min(top + 1, h - 1), min(left + 1, w - 1)
        v, u = v - top, u - left
        above = (1 - u) * x[:, top, left] + u * x[:, top, right]
        below = (1 - u) * x[:, bottom, left] + u * x[:, bottom, right]
        out[:, i, j] = (1 - v) * above + v * below
    return out


def pooled(x, size):
    """Adaptive average: cell i reaches from floor(i H / h) to ceil((i + 1) H / h)."""
    c, h, w = x.shape
    out = np.zeros((c, *size))
    for i, j in itertools.product(*map(range, size)):
        rows = range(i * h // size[0], -(-(i + 1) * h // size[0]))
        columns = range(j * w // size[1], -(-(j + 1) * w // size[1]))
        for y, z in itertools.product(rows, columns):
            out[:, i, j] += x[:, y, z] / (len(rows) * len(columns))
    return out


def shrink(mask, size, rule):
    """M_s at the size of F_s: majority of a cell (or its fullest cells), or bilinear."""
    inside = (mask == 1).astype(float)[None]
    if rule == "bilinear":
        return bilinear(inside, size)[0]
    cover = pooled(inside, size)[0]
    if 0 < cover.max() <= 0.5:
        return np.isclose(cover, cover.max()).astype(float)
    return (cover > 0.5).astype(float)


def gap(features, region, epsilon):
    """Eq. 1, 5 and 6."""
    total, area = np.zeros(len(features)), epsilon
    for y, x in np.ndindex(region.shape):
        total += features[:, y, x] * region[y, x]
        area += region[y, x]
    return total / area if area > 0 else total


def found_and_lost(mask, predicted, rule):
    """The Iverson brackets of Eq. 5 and 6, or the released tests on prediction + mask."""
    found, lost = np.zeros_like(mask), np.zeros_like(mask)
    for y, x in np.ndindex(mask.shape):
        m, p = mask[y, x], predicted[y, x]
        if rule == "partition":
            found[y, x], lost[y, x] = (m, 0) if p == 1 else (0, m)
        else:
            t = p + m if rule == "exact" else math.floor(p + m)
            found[y, x], lost[y, x] = t == 2, t == 1 and m != 0
    return found, lost


def concat(features, vectors, *maps):
    """Eq. 2, 8 and 11."""
    _, h, w = features.shape
    spread = [np.full((h, w), value) for vector in vectors for value in vector]
    return np.concatenate([features, np.stack(spread), *maps])


def prior_of(query, support, mask):
    """PFENet's prior: the best cosine to a support cell under the mask, stretched to 0..1."""
    _, h, w = query.shape
    best = np.zeros((h, w))
    for y, x in np.ndindex(h, w):
        q, cosines = query[:, y, x], []
        for i, j in np.ndindex(mask.shape):
            s = support[:, i, j] * mask[i, j]
            cosines.append(q @ s / (np.sqrt(q @ q) * np.sqrt(s @ s) + 1e-7))
        best[y, x] = max(cosines)
    return ((best - best.min()) / (best.max() - best.min() + 1e-7))[None]


def iou(predicted, mask, rule):
    """Of the foreground, or the mean with the background's; 255 counts nowhere."""
    ratios = []
    for label in (1, 0) if rule == "mean" else (1,):
        both = either = 0
        for y, x in np.ndindex(mask.shape):
            if mask[y, x] != 255:
                a, b = predicted[y, x] == label, mask[y, x] == label
                both, either = both + (a and b), either + (a or b)
        ratios.append(both / max(either, 1))
    return sum(ratios) / len(ratios)


def labels_of(mask, size):
    """Labels at the size of the feature map: unknown where most of an empty cell is unknown."""
    labels = shrink(mask, size, "binary")
    unknown = pooled((mask == 255).astype(float)[None], size)[0]
    for y, x in np.ndindex(size):
        if labels[y, x] == 0 and unknown[y, x] > 0.5:
            labels[y, x] = 255
    return labels


def cross_entropy(logits, masks, loss_size):
    """Eq. 7, 10 and 13 for several images: the mean over all pixels whose label is known."""
    total = known = 0
    for scores, mask in zip(logits, masks, strict=True):
        if loss_size == "image":
            scores, labels = bilinear(scores, mask.shape), mask
        else:
            labels = labels_of(mask, scores.shape[1:])
        probabilities = softmax(scores)
        for y, x in np.ndindex(labels.shape):
            if labels[y, x] != 255:
                total -= math.log(probabilities[int(labels[y, x]), y, x])
                known += 1
    return total / max(known, 1)


# ------------------------------------------------------------------------------------ the model


class Slow:
    """A model read piece by piece: its weights by name, one image and one support at a time."""

    def __init__(self, model: SCL):
        self.model, self.rules, self.guidance = model, model.rules, model.guidance
        self.canet = isinstance(model.head, CANetHead)
        self.weights = {k: v.double() for k, v in model.head.state_dict().items()}

    # layers

    def conv(self, x, name, dilation=1):
        """A convolution that keeps the size, and GroupNorm where there is one (the course's)."""
        weight, bias = self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias")
        padding = dilation * (weight.shape[-1] // 2)
        x = torch.from_numpy(np.ascontiguousarray(x))[None]
        x = F.conv2d(x, weight, bias, padding=padding, dilation=dilation)[0].numpy()
        norm = name[:-1] + "1"
        if name.endswith(".0") and self.weights.get(f"{norm}.weight", weight).dim() == 1:
            scale, shift = (self.weights[f"{norm}.{n}"].numpy() for n in ("weight", "bias"))
            x = np.concatenate([(g - g.mean()) / np.sqrt(g.var() + 1e-5) for g in np.split(x, 4)])
            x = x * scale[:, None, None] + shift[:, None, None]
        return x

    def reduce(self, mid, role):
        if self.canet:
            return relu(self.conv(mid, "reducer.0", dilation=2))
        return relu(self.conv(mid, f"reducers.{role}.0"))

    def predict(self, features, vectors, hint=None, borrowed=None):
        """D(FPM(.)): a query with its hint, a support without. Logits, pyramid, inner logits."""
        if self.canet:
            return self.canet_decoder(features, vectors, hint), None, []
        return self.pfenet_decoder(features, vectors, hint, borrowed)

    def branch(self, x, name):
        """CANet's residual branch, before the addition."""
        x = self.conv(relu(x), f"{name}.1.0")
        return self.conv(relu(x), f"{name}.2.0")

    def canet_decoder(self, features, vectors, history):
        x = relu(self.conv(concat(features, vectors), "compare.0", dilation=2))
        if history is None:
            x = x + self.branch(x, "support_branch")
        else:
            seen = bilinear(history, x.shape[1:])
            x = x + self.branch(np.concatenate([x, seen]), "query_branch")
        x = x + self.branch(x, "branches.0")
        x = x + self.branch(x, "branches.1")
        whole = np.array([[[channel.mean()]] for channel in x])
        whole = relu(self.conv(whole, "aspp.whole.0")) * np.ones((1, *x.shape[1:]))
        parts = [whole, relu(self.conv(x, "aspp.cell.0"))]
        for index, rate in enumerate(ring[0].dilation[0] for ring in self.model.head.aspp.rings):
            parts.append(relu(self.conv(x, f"aspp.rings.{index}.0", dilation=rate)))
        return self.conv(relu(self.conv(np.concatenate(parts), "aspp.merge.0")), "classify")

    def pfenet_decoder(self, features, vectors, prior, borrowed):
        full, own, inner = features.shape[1:], [], []
        merge = "support_merge" if prior is None else "query_merge"
        for i, scale in enumerate(self.model.head.scales):
            size = (scale, scale)
            if isinstance(scale, float):
                size = tuple(max(1, math.ceil(scale * side)) for side in full)
            seen = [] if prior is None else [bilinear(prior, size)]
            x = concat(pooled(features, size), vectors, *seen)
            x = relu(self.conv(x, f"{merge}.{i}.0"))
            if i > 0:
                finer = bilinear((borrowed or own)[i - 1], size)
                x = x + relu(self.conv(np.concatenate([x, finer]), f"alpha.{i - 1}.0"))
            beta = relu(self.conv(x, f"beta.{i}.0.0"))
            x = x + relu(self.conv(beta, f"beta.{i}.1.0"))
            if f"inner.{i}.1.weight" in self.weights:
                inner.append(self.classifier(x, f"inner.{i}"))
            own.append(bilinear(x, full))
        x = relu(self.conv(np.concatenate(own), "gather.0"))
        x = x + relu(self.conv(relu(self.conv(x, "refine.0.0")), "refine.1.0"))
        return self.classifier(x, "classify"), own, inner

    def classifier(self, x, name):
        return self.conv(relu(self.conv(x, f"{name}.0.0")), f"{name}.1")

    # one support

    def mid(self, image):
        return self.model.backbone.mid(torch.from_numpy(image)[None])[0].numpy()

    def high(self, mid):
        return self.model.backbone.high(torch.from_numpy(mid)[None])[0].numpy()

    def read(self, image, mask):
        """A support: Eq. 1-6."""
        mid = self.mid(image)
        small = shrink(mask, mid.shape[1:], self.rules.mask_resize)
        # Rounding decides nothing: no cell is almost empty or almost full.
        assert all(m in (0, 1) or 1e-4 < m < 1 - 1e-4 for m in small.flatten())
        features, first = self.reduce(mid, "support"), None
        v_s = gap(features, small, self.rules.epsilon)
        chosen, count = {"s": v_s}, len(self.guidance.vectors)
        support = {"image": image, "mask": mask, "small": small, "features": features, "mid": mid}
        if set(self.guidance.vectors) != {"s"} or self.guidance.loss_s1:
            first = self.predict(features, [v_s] * count)
            regions = found_and_lost(small, argmax(first[0]), self.rules.regions)
            for name, region in zip(("pri", "aux"), regions, strict=True):
                vector = gap(features, region, self.rules.epsilon)
                if self.rules.empty == "initial" and not region.any():
                    vector = v_s
                chosen[name] = vector
            support["regions"] = regions
        vectors = [chosen[name] for name in self.guidance.vectors]
        return support | {"first": first, "vectors": vectors}

    def second(self, on, vectors):
        """Eq. 8-9: a support once more, under its own or another's vectors."""
        borrowed = on["first"][1] if self.rules.second_pyramid == "first" else None
        return self.predict(on["features"], vectors, borrowed=borrowed)

    def hint(self, mid, size, support):
        """What a query sees beside the vectors: the prior, or an empty history."""
        if self.canet:
            return np.zeros((2, *size))
        masked = self.high(support["mid"] * support["small"])
        return prior_of(self.high(mid), masked, support["small"])

    def refined(self, mid, support, history=None):
        """Eq. 11-12 at the size of the map, repeated where there is a history (CANet)."""
        features = self.reduce(mid, "query")
        hint, turns = self.hint(mid, features.shape[1:], support), 1
        if self.canet:
            # In training the history is one pass old, however many passes there are in use.
            turns = min(self.model.iterations, 2 if self.model.training else math.inf)
            hint, turns = (hint, turns) if history is None else (history, 1)
        for _ in range(turns):
            result = self.predict(features, support["vectors"], hint)
            hint = softmax(result[0]) if self.canet else hint
        return result

    # K supports

    def mutual(self, supports, single):
        """Eq. 15: entry [k][i], IOU of support i predicted under support k.

        single: the model's, which enlarges score maps in single precision; believed where a pixel
        is so near a tie that this decides.
        """
        table = np.ones((len(supports), len(supports)))
        for (k, by), (i, on) in itertools.product(enumerate(supports), repeat=2):
            if len(supports) > 1:
                if self.rules.mutual == "model":
                    logits = self.refined(on["mid"], by)[0]
                else:
                    logits = self.second(on, by["vectors"])[0]
                enlarged = bilinear(logits, on["mask"].shape, self.rules.enlarge == "aligned")
                table[k, i] = iou(argmax(enlarged), on["mask"], self.rules.iou)
                doubtful = (np.abs(enlarged[1] - enlarged[0]) < 1e-5).sum()
                if 0 < abs(table[k, i] - single[k, i]) <= doubtful / 100:
                    table[k, i] = single[k, i]
        return table

    def scores(self, mutual):
        """Eq. 16."""
        count = len(mutual)
        own = self.rules.own_score or count == 1
        others = [[i for i in range(count) if own or i != k] for k in range(count)]
        return [sum(mutual[k, i] for i in others[k]) / len(others[k]) for k in range(count)]

    def fuse(self, logits, scores):
        """Eq. 17 before its softmax; the log of probabilities where those are averaged."""
        count = len(logits)
        if sum(scores) == 0 and self.rules.no_score == "average":
            scores = [1.0] * count
        if self.rules.fused == "probabilities":
            parts = [u / sum(scores) * softmax(x) for u, x in zip(scores, logits, strict=True)]
            return np.log(sum(parts))
        divisor = count if self.rules.divisor is None or count == 1 else self.rules.divisor
        return sum(u * x for u, x in zip(scores, logits, strict=True)) / divisor

    def episode(self, images, masks, query, single, fusion="cross"):
        """Eq. 1-17: mutual (see there), scores, score maps under each support, their fusion."""
        supports = [self.read(image, mask) for image, mask in zip(images, masks, strict=True)]
        mutual = self.mutual(supports, single)
        scores = self.scores(mutual)
        weights = scores if fusion == "cross" else [1.0] * len(scores)
        mids = [self.mid(zoomed(query, zoom)) for zoom in self.model.zooms]
        features = [self.reduce(mid, "query") for mid in mids]
        hints = [
            [self.hint(mid, f.shape[1:], s) for s in supports]
            for mid, f in zip(mids, features, strict=True)
        ]
        vectors = [s["vectors"] for s in supports]
        if fusion == "vectors":
            vectors, weights = [list(np.mean(vectors, axis=0))], [1.0]
            hints = [[np.mean(each, axis=0)] for each in hints]
        for _ in range(self.model.iterations if self.canet else 1):
            small = [
                [self.predict(f, v, h)[0] for v, h in zip(vectors, hint, strict=True)]
                for f, hint in zip(features, hints, strict=True)
            ]
            logits = [0.0] * len(vectors)
            for zoomed_maps, k in itertools.product(small, range(len(vectors))):
                enlarged = bilinear(
                    zoomed_maps[k], query.shape[1:], self.rules.enlarge == "aligned"
                )
                logits[k] = logits[k] + enlarged
            if self.canet and self.rules.history == "own":
                hints = [[softmax(x) for x in each] for each in small]
            elif self.canet:
                hints = [[softmax(self.fuse(logits, weights))] * len(vectors)] * len(small)
        return mutual, scores, np.stack(logits), self.fuse(logits, weights)

    def losses(self, images, masks, queries, truths, history=None):
        """Eq. 7, 10, 13 and 14 for one-shot episodes, with PFENet's auxiliary losses."""
        passes = {"q": [], "s1": [], "s2": []}
        for b, (image, mask, query) in enumerate(zip(images, masks, queries, strict=True)):
            support = self.read(image, mask)
            own = None if history is None else history[b]
            passes["q"].append(self.refined(self.mid(query), support, own))
            passes["s1"].append(support["first"])
            if self.guidance.loss_s2:
                passes["s2"].append(self.second(support, support["vectors"]))
        if not self.guidance.loss_s1:
            del passes["s1"]
        if not self.guidance.loss_s2:
            del passes["s2"]
        losses, auxiliary = {}, 0.0
        for name, found in passes.items():
            labels, size = truths if name == "q" else masks, self.rules.loss_size
            losses[name] = cross_entropy([p[0] for p in found], labels, size)
            scales = list(zip(*(p[2] for p in found), strict=True))
            for inner in scales:
                auxiliary += cross_entropy(inner, labels, size) / len(scales)
        return losses | {"total": sum(losses.values()) + self.rules.auxiliary_loss * auxiliary}


def zoomed(image, zoom):
    """By the exact factor, to a size rounded down."""
    if zoom == 1:
        return image
    size = tuple(math.floor(side * zoom) for side in image.shape[1:])
    return bilinear(image, size, aligned=False, factor=zoom)


# ---------------------------------------------------------------------------- models and tasks


class Still(TinyBackbone):
    """It has no statistics, so rule statistics="batch" changes nothing.

    Its high-level maps look around, so those under a mask reach beyond the mask.
    """

    def __init__(self):
        super().__init__()
        g = torch.Generator().manual_seed(1)
        self.register_buffer("deep", torch.randn(5, 6, 3, 3, generator=g))

    def batch_statistics(self, on: bool) -> None:
        pass

    def high(self, mid, mask=None):
        mid = mid if mask is None else mid * mask.unsqueeze(1).to(mid.dtype)
        return F.conv2d(mid, self.deep, padding=1).relu()


SIZE = (26, 35)  # neither side is 8k + 1: shrunk masks have fractional cells


def task(b=1, k=3, seed=0, size=SIZE, rim=False):
    """Images with a brighter object, masks, queries and their truth, in double precision."""
    g = np.random.default_rng(seed)
    images, masks = g.random((b, k + 1, 3, *size)), np.zeros((b, k + 1, *size), int)
    for i, j in np.ndindex(b, k + 1):
        y, x = g.integers(1, 9, 2)
        if rim:
            masks[i, j, max(y - 3, 0) : y + 16, max(x - 3, 0) : x + 21] = 255
        masks[i, j, y : y + 13, x : x + 18] = 1
        images[i, j] = 0.6 * images[i, j] + 0.4 * (masks[i, j] == 1)
    return images[:, :k], masks[:, :k], images[:, k], masks[:, k]


def tensors(*arrays):
    return [torch.from_numpy(a) for a in arrays]


def model_of(head, rules=PAPER, guidance=None, bias=None, **changes) -> SCL:
    """A full-size configuration 8 channels wide, in double precision, with lively predictions.

    bias: of the foreground; default: such that about half of all cells are predicted.
    """
    guidance = guidance or Guidance()
    still = {"dropout": 0.0} | ({"history_dropout": 0.0} if head == "canet" else {})
    if head == "canet":
        still |= {"iterations": 2, "zooms": (0.7, 1.0, 1.3), "rates": (1, 2, 3)}
    else:
        still |= {"classifier_dropout": 0.0, "scales": (1.0, 0.5, 3, 1)}
    config = full_size(head, rules=rules, guidance=guidance, d=8, **{**still, **changes})
    model = build_model(config, seed=SEEDS[head], backbone=Still()).double()
    last = model.head.classify if head == "canet" else model.head.classify[1]
    if bias is None:
        balance(model, last)
    else:
        last.bias.data = torch.tensor([0.0, bias]).double()
    return model


# Seeds of heads that tell the supports of `task` apart under every preset.
SEEDS = {"canet": 13, "pfenet": 26}


@torch.no_grad()
def balance(model: SCL, last: torch.nn.Conv2d) -> None:
    """Scores that spread by 3, half of them foreground, for supports that predict each other."""
    images, masks = tensors(*task()[:2])
    last.bias[:] = 0
    for turn in range(4):
        scores = model.mutual_logits(model.condition(images, masks))
        difference = scores[:, :, :, 1] - scores[:, :, :, 0]
        if turn == 0:
            last.weight *= 3 / difference.std()
        else:
            last.bias[1] -= difference.median()


def compare_episode(model, fusion="cross", k=3, seed=0, rim=False):
    """The model and its slow reading on one episode; returns what the slow one found."""
    images, masks, query, _ = task(1, k, seed, rim=rim)
    x, m, q = tensors(images, masks, query)
    done = model.segment(model.condition(x, m), q, fusion)
    mutual, scores, logits, fused = Slow(model).episode(
        images[0], masks[0], query[0], done.mutual[0].numpy(), fusion
    )
    for ours, slow in (
        (done.mutual, mutual),
        (done.scores, np.array(scores)),
        (done.logits, logits),
        (done.fused_logits, fused),
        (done.fused, softmax(fused)),
    ):
        np.testing.assert_allclose(ours[0].numpy(), slow, rtol=2e-5, atol=2e-5)
    return mutual, scores, logits, fused


# --------------------------------------------------------------------------------- whole models


@on_both_heads
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("k", [1, 3])
def test_an_episode_under_each_preset(head, preset, k):
    mutual, scores, _, fused = compare_episode(model_of(head, PRESETS[preset]), k=k, rim=True)
    # The episode is no empty case: supports are told apart, and the query is split in two.
    assert k == 1 or (len(set(scores)) == 3 and 0.05 < mutual.min() < mutual.max() < 0.95)
    assert 0.05 < argmax(fused).mean() < 0.95


CHANGES = {
    "canet": [
        {"mask_resize": "bilinear"},
        {"mask_resize": "bilinear", "regions": "exact"},
        {"mask_resize": "bilinear", "regions": "truncated"},
        {"epsilon": 0.5},
        {"mutual": "support"},
        {"iou": "mean"},
        {"own_score": False},
        {"fused": "probabilities"},
        {"divisor": 5.0},
        {"history": "fused"},
        {"enlarge": "centres"},
    ],
    "pfenet": [
        {"mask_resize": "bilinear", "regions": "exact"},
        {"mutual": "support"},
        {"mutual": "support", "second_pyramid": "first"},
        {"own_score": False, "iou": "mean"},
    ],
}


@pytest.mark.parametrize(
    "head, rules", [(head, rules) for head in HEADS for rules in CHANGES[head]], ids=str
)
def test_each_rule_alone_is_what_it_says_and_changes_the_result(head, rules):
    # The last of several rules is the one in question.
    *others, _ = rules.items()
    with_it, without = (fused_by(head, replace(PAPER, **dict(r))) for r in (rules, others))
    assert np.abs(with_it - without).max() > 1e-4


@lru_cache
def fused_by(head: str, rules: Rules) -> np.ndarray:
    return compare_episode(model_of(head, rules), rim=True)[-1]


@on_both_heads
@pytest.mark.parametrize("fusion", ["average", "vectors"])
@pytest.mark.parametrize("preset", ["paper", "released_canet"])
def test_the_other_fusions(head, fusion, preset):
    compare_episode(model_of(head, PRESETS[preset]), fusion)


@on_both_heads
@pytest.mark.parametrize("vectors", [("s",), ("aux",), ("pri", "s", "aux")], ids="-".join)
def test_other_choices_of_vectors(head, vectors):
    """The baseline (built without a support FPM), one vector, and three in another order."""
    guidance = V_S if vectors == ("s",) else Guidance(vectors)
    compare_episode(model_of(head, guidance=guidance))


@on_both_heads
@pytest.mark.parametrize("bias", [-100.0, 100.0], ids=["all lost", "all found"])
@pytest.mark.parametrize("released", [False, True])
def test_an_empty_region(head, bias, released):
    """One of v_pri and v_aux has nothing to average; and nothing predicted scores nothing."""
    rules = Rules(empty="zero", no_score="zero") if released else PAPER
    model = model_of(head, rules, bias=bias)
    _, scores, _, fused = compare_episode(model)
    support = model.condition(*tensors(*task()[:2]))
    empty = support.vectors[0, :, 0 if bias < 0 else 1]
    expected = torch.zeros_like(empty) if released else support.guide.v_s
    assert torch.equal(empty, expected)
    assert (sum(scores) == 0) == (bias < 0)
    assert (np.abs(fused).max() == 0) == (released and bias < 0)


@on_both_heads
def test_a_tie_of_the_first_prediction_is_background(head):
    """Eq. 4: where both scores are equal nothing is found, so all is lost."""
    model = model_of(head, bias=0.0)
    last = model.head.classify if head == "canet" else model.head.classify[1]
    torch.nn.init.zeros_(last.weight)
    support = model.condition(*tensors(*task()[:2]))
    assert not support.guide.found.any()
    assert torch.equal(support.guide.lost.unflatten(0, (1, 3)), support.mask)
    compare_episode(model)


@pytest.mark.parametrize("iterations", [1, 4])
@pytest.mark.parametrize("zooms", [(1.0,), (0.6, 1.4)])
@pytest.mark.parametrize("history", ["own", "fused"])
def test_refinement_over_iterations_and_zooms(iterations, zooms, history):
    rules = replace(RELEASED_CANET, history=history)
    compare_episode(model_of("canet", rules, iterations=iterations, zooms=zooms), k=2)


def test_the_full_size_rings_and_scales():
    """Rings wider than the map, and more cells in a scale than the map has."""
    compare_episode(model_of("canet", RELEASED_CANET, rates=(6, 12, 18), iterations=1))
    compare_episode(model_of("pfenet", RELEASED_PFENET, scales=(10, 7, 4, 2)))


def test_supports_of_several_sizes():
    """Each is read at its own size, and IOU is taken at the size of its own mask."""
    tasks = [task(1, 1, seed, size) for seed, size in enumerate(((26, 35), (30, 22), (34, 37)))]
    images, masks = [t[0][0, 0] for t in tasks], [t[1][0, 0] for t in tasks]
    query = task(seed=9)[2]
    for head in HEADS:
        model = model_of(head, PRESETS[f"released_{head}"])
        support = model.condition(tensors(*images), tensors(*masks))
        done = model.segment(support, torch.from_numpy(query))
        mutual, _, logits, fused = Slow(model).episode(
            images, masks, query[0], done.mutual[0].numpy()
        )
        np.testing.assert_allclose(done.mutual[0], mutual, atol=1e-6)
        np.testing.assert_allclose(done.logits[0], logits, rtol=2e-5, atol=2e-5)
        np.testing.assert_allclose(done.fused_logits[0], fused, rtol=2e-5, atol=2e-5)


# ------------------------------------------------------------------------------------- training


def compare_losses(model, history=None, rim=True):
    images, masks, query, truth = task(b=2, k=1, rim=rim)
    images, masks = images[:, 0], masks[:, 0]
    truth[1, :13] = 255  # the two queries do not count alike
    model.train()
    slow = Slow(model).losses(images, masks, query, truth, history)
    x, m, q, t = tensors(images, masks, query, truth)
    past = None if history is None else torch.from_numpy(history)
    ours = model.losses(model.encode(x, m), m, model.encode(q), t, past)
    assert set(ours) == set(slow)
    for name in slow:
        assert ours[name].item() == pytest.approx(slow[name], rel=2e-5), name
    return slow


@on_both_heads
@pytest.mark.parametrize("preset", PRESETS)
def test_losses_under_each_preset(head, preset):
    losses = compare_losses(model_of(head, PRESETS[preset]))
    three = losses["q"] + losses["s1"] + losses["s2"]
    auxiliary = head == "pfenet" and preset == "released_pfenet"
    assert (losses["total"] - three > 0.1) == auxiliary


@pytest.mark.parametrize("auxiliary", [0.0, 0.4])
@pytest.mark.parametrize("size", ["feature", "image"])
def test_auxiliary_losses_at_both_sizes(auxiliary, size):
    compare_losses(model_of("pfenet", Rules(auxiliary_loss=auxiliary, loss_size=size)))


@on_both_heads
@pytest.mark.parametrize(
    "guidance", [V_S, Guidance(("s",), True, False), Guidance(loss_s1=False)], ids=str
)
def test_losses_that_are_switched_off(head, guidance):
    compare_losses(model_of(head, guidance=guidance))


def test_a_given_history_is_refined_once_in_training():
    history = np.random.default_rng(4).random((2, 2, 4, 5))
    model = model_of("canet", RELEASED_CANET, iterations=3)
    assert compare_losses(model, history)["q"] != pytest.approx(compare_losses(model)["q"])


# ---------------------------------------------------------------------------------- single steps


@pytest.mark.parametrize("mask_resize", ["binary", "bilinear"])
@pytest.mark.parametrize("size, cells", [((26, 35), (4, 5)), ((17, 33), (3, 5)), ((9, 11), (2, 2))])
def test_shrinking_a_mask_is_the_loop_over_cells(mask_resize, size, cells):
    g = np.random.default_rng(0)
    masks = np.zeros((4, *size), int)
    masks[0, 2:12, 3:19] = 1
    masks[1, 5, 2:6] = 1  # thin: no cell is half full
    masks[2] = g.integers(0, 2, size)
    masks[3] = g.choice([0, 1, 255], size)
    ours = shrink_mask(torch.from_numpy(masks), cells, mask_resize)
    slow = np.stack([shrink(mask, cells, mask_resize) for mask in masks])
    np.testing.assert_allclose(ours, slow, atol=1e-6)


def test_a_thin_object_keeps_all_of_its_fullest_cells():
    mask = torch.zeros(1, 17, 33)
    mask[0, 5] = 1  # a sixth of each of five cells
    assert shrink_mask(mask, (3, 5))[0, 0].tolist() == [1, 1, 1, 1, 1]


@pytest.mark.parametrize("loss_size", ["feature", "image"])
@pytest.mark.parametrize("size, cells", [((26, 35), (4, 5)), ((8, 8), (3, 1)), ((5, 6), (5, 6))])
def test_cross_entropy_is_the_loop_over_known_pixels(loss_size, size, cells):
    g = np.random.default_rng(1)
    logits = g.standard_normal((3, 2, *cells))
    masks = g.choice([0, 1], (3, *size))
    masks[0, : size[0] // 2] = 255
    masks[1] = np.where(g.random(size) < 0.6, 255, 0)
    masks[2, :, -2:] = 255
    ours = segmentation_loss(*tensors(logits, masks), loss_size)
    assert ours.item() == pytest.approx(cross_entropy(logits, masks, loss_size), rel=1e-5)


@on_both_heads
@pytest.mark.parametrize("norm", [False, True])
@torch.no_grad()
def test_both_decoders_layer_by_layer(head, norm):
    """Support and query passes, under vectors of their own, on maps that are not square."""
    model = model_of(head, RELEASED_PFENET, norm=norm)
    g, slow, size = np.random.default_rng(2), Slow(model), (5, 7)
    features, vectors = relu(g.standard_normal((8, *size))), g.standard_normal((2, 8))
    hint = g.random((2 if head == "canet" else 1, 3, 4))
    x, v, h = (t[None] for t in tensors(features, vectors, hint))
    model.head.train()
    for ours, expected in (
        (model.head.support(x, v), slow.predict(features, vectors)),
        (model.head.query(x, v, h), slow.predict(features, vectors, hint)),
    ):
        np.testing.assert_allclose(ours.logits[0], expected[0], rtol=1e-9, atol=1e-9)
        assert len(ours.pyramid) == len(ours.inner) == (0 if head == "canet" else 4)
        for mine, theirs in zip(ours.inner, expected[2], strict=True):
            np.testing.assert_allclose(mine[0], theirs, rtol=1e-9, atol=1e-9)
        for mine, theirs in zip(ours.pyramid, expected[1] or (), strict=True):
            np.testing.assert_allclose(mine[0], theirs, rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_a_borrowed_pyramid_stands_in_between_scales_and_nowhere_else():
    """The released second pass: the finest scale is its own, the others read the first pass."""
    model = model_of("pfenet", RELEASED_PFENET)
    g, slow = np.random.default_rng(3), Slow(model)
    features, vectors = g.standard_normal((8, 5, 7)), g.standard_normal((2, 8))
    other = [g.standard_normal((8, 5, 7)) for _ in range(4)]
    (x, v), pyramid = tensors(features, vectors), tuple(t[None] for t in tensors(*other))
    ours = model.head.support(x[None], v[None], pyramid)
    logits, own, _ = slow.predict(features, vectors, borrowed=other)
    np.testing.assert_allclose(ours.logits[0], logits, rtol=1e-9, atol=1e-9)
    alone = model.head.support(x[None], v[None])
    same = [torch.equal(a, b) for a, b in zip(ours.pyramid, alone.pyramid, strict=True)]
    assert same == [True, False, False, False]
    np.testing.assert_allclose(ours.pyramid[3][0], own[3], rtol=1e-9, atol=1e-9)


def test_an_area_of_many_cells_is_counted_in_half_precision_too():
    """bfloat16 cannot count beyond 256; autocast hands such maps to Eq. 1."""
    features = torch.ones(1, 2, 40, 40, dtype=torch.bfloat16)
    for epsilon in (0.0, 0.0005):
        v = masked_gap(features, torch.ones(1, 40, 40), epsilon)
        assert v.dtype == torch.float32 and torch.allclose(v, torch.ones(1, 2), atol=1e-6)


# --------------------------------------------------------------- dropout of the full-size systems


@on_both_heads
@torch.no_grad()
def test_dropout_takes_whole_channels_behind_the_reduction(head):
    model = build_model(full_size(head, d=64, iterations=1), backbone=Still())
    mid = torch.rand(2, 6, 5, 7)
    for role in ("support", "query"):
        plain = model.eval().head.reduce(mid, role)
        torch.manual_seed(0)
        dropped = model.train().head.reduce(mid, role)
        alive = dropped.flatten(2).amax(dim=2) > 0
        assert torch.allclose(dropped, 2 * plain * alive[:, :, None, None], atol=1e-6)
        assert 0.3 < alive.sum() / (plain.flatten(2).amax(dim=2) > 0).sum() < 0.7
        assert not torch.equal(alive[0], alive[1])


@torch.no_grad()
def test_pfenets_classifiers_drop_one_channel_in_ten():
    head = PFENetHead(6, d=256, norm=False, classifier_dropout=0.1).train()
    seen = []
    head.classify[1].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    x = torch.rand(4, 256, 3, 3)
    head.classify(x)
    kept = head.classify[0](x)
    alive = seen[0].flatten(2).amax(dim=2) > 0
    assert torch.allclose(seen[0], kept / 0.9 * alive[:, :, None, None], atol=1e-6)
    assert 0.05 < 1 - alive.sum() / (kept.flatten(2).amax(dim=2) > 0).sum() < 0.15


@torch.no_grad()
def test_history_dropout_takes_an_episodes_whole_history_in_training_only():
    """CANet: seven times in ten the query branch is shown an empty history."""
    model = model_of("canet", history_dropout=0.7)
    g = torch.Generator().manual_seed(5)
    features = torch.rand(60, 8, 4, 5, generator=g, dtype=torch.float64)
    vectors = torch.rand(60, 2, 8, generator=g, dtype=torch.float64)
    history = torch.rand(60, 2, 4, 5, generator=g, dtype=torch.float64)
    with_it = model.head.query(features, vectors, history).logits
    without = model.head.query(features, vectors, torch.zeros_like(history)).logits

    def passed() -> torch.Tensor:
        head, chance = model.head, model.history_dropout
        hint = torch.zeros_like(history)
        return query_pass(head, features, vectors, hint, 1, chance, history).logits

    model.eval()
    used = passed()
    assert torch.allclose(used, with_it)
    torch.manual_seed(0)
    model.train()
    trained = passed()
    kept = [torch.allclose(a, b) for a, b in zip(trained, with_it, strict=True)]
    gone = [torch.allclose(a, b) for a, b in zip(trained, without, strict=True)]
    assert all(a != b for a, b in zip(kept, gone, strict=True)) and 8 <= sum(kept) <= 28
