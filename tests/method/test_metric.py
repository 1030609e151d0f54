"""The metrics against hand counts and against torchmetrics."""

import numpy as np
import pytest
import torch
from torchmetrics.classification import BinaryJaccardIndex, MulticlassJaccardIndex

from scl.method.metric import (
    class_iou,
    count_pixels,
    fb_iou,
    interval,
    mean_iou,
    resample,
    weighted_miou,
)


def case(episodes=9, seed=0, ignore=True):
    g = torch.Generator().manual_seed(seed)
    predicted = (torch.rand(episodes, 8, 9, generator=g) > 0.5).long()
    mask = (torch.rand(episodes, 8, 9, generator=g) > 0.5).long()
    if ignore:
        mask[torch.rand(episodes, 8, 9, generator=g) > 0.8] = 255
    return predicted, mask, np.arange(episodes) % 3


def test_count_pixels_by_hand():
    predicted = torch.tensor([[[1, 1, 0, 0]]])
    mask = torch.tensor([[[1, 0, 0, 255]]])
    assert count_pixels(predicted, mask).tolist() == [[1, 2, 1, 2]]


def test_mean_iou_agrees_with_torchmetrics():
    predicted, mask, labels = case()
    counts = count_pixels(predicted, mask).numpy()
    expected = []
    for label in range(3):
        metric = BinaryJaccardIndex(ignore_index=255)
        chosen = torch.from_numpy(labels == label)
        expected.append(metric(predicted[chosen], mask[chosen]).item())
    assert list(class_iou(counts, labels).values()) == pytest.approx(expected)
    assert mean_iou(counts, labels) == pytest.approx(np.mean(expected))


def test_fb_iou_agrees_with_torchmetrics():
    predicted, mask, _ = case(seed=1)
    metric = MulticlassJaccardIndex(num_classes=2, average="macro", ignore_index=255)
    expected = metric(predicted, mask).item()
    assert fb_iou(count_pixels(predicted, mask).numpy()) == pytest.approx(expected)


def test_totals_do_not_depend_on_how_work_is_shared():
    predicted, mask, labels = case()
    whole = count_pixels(predicted, mask)
    parts = torch.cat([count_pixels(predicted[i : i + 2], mask[i : i + 2]) for i in range(0, 9, 2)])
    assert torch.equal(whole, parts)


def test_weighted_miou_is_the_metric_of_the_repeated_episodes():
    predicted, mask, labels = case()
    counts = count_pixels(predicted, mask).numpy()
    weights = resample(9, np.random.default_rng(0), draws=5)
    assert (weights.sum(axis=1) == 9).all()
    for row, value in zip(weights, weighted_miou(counts, labels, weights), strict=True):
        again = np.repeat(np.arange(9), row)
        assert value == pytest.approx(mean_iou(counts[again], labels[again]))


def test_the_interval_covers_the_value_and_shrinks_with_more_episodes():
    rng = np.random.default_rng(1)
    widths = []
    for episodes in (100, 400):
        hits = rng.integers(0, 101, size=episodes)
        counts = np.stack([hits, np.full(episodes, 100)], axis=1)
        labels = np.zeros(episodes, int)
        draws = weighted_miou(counts, labels, resample(episodes, rng))
        low, high = interval(draws)
        assert low < hits.mean() / 100 < high
        widths.append(high - low)
    assert widths[0] / widths[1] == pytest.approx(2, rel=0.2)


def test_nothing_to_score_and_shapes_that_differ_are_named():
    with pytest.raises(ValueError, match="at least one"):
        mean_iou(np.zeros((0, 4)), np.zeros(0))
    with pytest.raises(ValueError, match="differ in shape"):
        count_pixels(torch.zeros(1, 3, 3), torch.zeros(1, 3, 4))
