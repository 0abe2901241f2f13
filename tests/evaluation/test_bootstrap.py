"""Intervals of a difference of mIoU, against images that are drawn and scored one by one."""

import math

import pytest
import torch
from oracles.segmentation import iou

from densecl.evaluation.bootstrap import miou_difference
from densecl.evaluation.segmentation import confusion, iou_counts

CLASSES = 4


def maps(seed: int, noise: float, count: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """Truth (M, 8, 8), the same for every call, some pixels ignored; and a noisy prediction of it."""
    truth = torch.randint(0, CLASSES, (count, 8, 8), generator=torch.Generator().manual_seed(9))
    truth[0, :2] = 255
    truth[1:][truth[1:] == 3] = 0  # a class that only the first image has
    generator = torch.Generator().manual_seed(seed)
    wrong = torch.rand(truth.shape, generator=generator) < noise
    other = torch.randint(0, CLASSES, truth.shape, generator=generator)
    return truth, torch.where(wrong | (truth == 255), other, truth)


def counts(seed: int, noise: float) -> torch.Tensor:
    truth, predicted = maps(seed, noise)
    return iou_counts(confusion(predicted, truth, CLASSES))


def mean_of(rows: list[int], seed: int, noise: float) -> float:
    """mIoU over some images, which may be there twice, from sets of pixels."""
    truth, predicted = maps(seed, noise)
    found = iou(torch.cat([predicted[i] for i in rows]), torch.cat([truth[i] for i in rows]), CLASSES)
    return sum(found.values()) / len(found)


def test_the_images_as_they_are_and_their_quantiles():
    one, two = [counts(1, 0.5), counts(2, 0.5)], [counts(3, 0.3), counts(4, 0.3)]
    found = miou_difference(one, two, draws=300, seed=7)
    rows = list(range(6))
    want = [mean_of(rows, s, 0.3) for s in (3, 4)] + [-mean_of(rows, s, 0.5) for s in (1, 2)]
    assert found.mean == pytest.approx(sum(want) / 2)
    drawn = torch.randint(6, (300, 6), generator=torch.Generator().manual_seed(7)).tolist()
    differences = []
    for rows in drawn:
        total = sum(mean_of(rows, s, 0.3) for s in (3, 4)) - sum(mean_of(rows, s, 0.5) for s in (1, 2))
        differences.append(total / 2)
    mean = sum(differences) / 300
    spread = math.sqrt(sum((x - mean) ** 2 for x in differences) / 300)
    assert found.error == pytest.approx(spread * math.sqrt(6 / 5)) and found.groups == 6 and spread > 0.5


def test_groups_are_drawn_whole():
    """Two films: a draw holds each of them none, one or two times, so there are three differences."""
    one, two, films = counts(1, 0.5), counts(3, 0.3), 'aabbbb'
    found = miou_difference([one], [two], groups=films, draws=4000)
    both = mean_of(list(range(6)), 3, 0.3) - mean_of(list(range(6)), 1, 0.5)
    first, second = (mean_of(rows, 3, 0.3) - mean_of(rows, 1, 0.5) for rows in ([0, 1], [2, 3, 4, 5]))
    mean = (first + 2 * both + second) / 4
    spread = math.sqrt(((first - mean) ** 2 + 2 * (both - mean) ** 2 + (second - mean) ** 2) / 4)
    assert found.mean == pytest.approx(both) and found.groups == 2
    assert found.error == pytest.approx(spread * math.sqrt(2), rel=0.05)


def test_one_group_says_nothing_of_others():
    found = miou_difference([counts(1, 0.5)], [counts(3, 0.3)], groups='aaaaaa')
    assert found.error == math.inf and found.groups == 1


def test_the_same_predictions_do_not_differ():
    one = counts(1, 0.5)
    found = miou_difference([one], [one])
    assert found.mean == found.error == 0


def test_what_does_not_pair_is_refused():
    one = counts(1, 0.5)
    for sides in (([one], [one, one]), ([], []), ([one], [one[:-1]])):
        with pytest.raises(ValueError, match='same seeds and images'):
            miou_difference(*sides)
    with pytest.raises(ValueError, match='5 groups for 6 images'):
        miou_difference([one], [one], groups='aaabb')
