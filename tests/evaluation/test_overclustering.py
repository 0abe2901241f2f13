"""Clusters are given classes as the definition says, and find what the cells hold."""

import numpy as np
import pytest
import torch
from oracles import clustering as oracle

from densecl.evaluation import clustering_miou
from densecl.evaluation.overclustering import MATCHINGS, overclustering


def one_hot(images=4, classes=3, grid=(4, 5), cell=8, seed=0):
    """Label maps of square cells, and maps that say nothing but the label."""
    ids = torch.randint(classes, (images, *grid), generator=torch.Generator().manual_seed(seed))
    maps = torch.eye(classes)[ids].permute(0, 3, 1, 2)
    return maps.half(), ids.repeat_interleave(cell, 1).repeat_interleave(cell, 2).to(torch.uint8)


@pytest.mark.parametrize('matching', MATCHINGS)
class TestMatching:
    @pytest.mark.parametrize(('clusters', 'classes'), ((3, 3), (6, 3), (2, 4)))
    def test_agrees_with_sets_and_every_assignment(self, matching, clusters, classes):
        for seed in range(8):
            generator = torch.Generator().manual_seed(seed)
            truth = torch.randint(classes, (60,), generator=generator)
            prediction = (truth + torch.randint(3, (60,), generator=generator)) % clusters
            truth[::7] = 255
            wanted = oracle.miou(prediction, truth, clusters, classes, matching)
            found = clustering_miou(prediction, truth, clusters, classes, matching)
            assert found == pytest.approx(wanted)
            arrays = prediction.numpy().astype(np.int32), truth.numpy().astype(np.uint8)
            assert clustering_miou(*arrays, clusters, classes, matching) == found

    def test_renamed_classes_are_found_and_absent_ones_count_zero(self, matching):
        truth = torch.arange(90) % 3
        assert clustering_miou((truth + 1) % 3, truth, 3, 3, matching) == pytest.approx(100)
        assert clustering_miou(truth, truth, 3, 4, matching) == pytest.approx(75)

    def test_what_is_wrong_is_said(self, matching):
        ids = torch.tensor([0, 1, 2])
        for prediction, truth, said in (
            (ids, ids[:2], 'integers of one shape'),
            (ids.float(), ids, 'integers of one shape'),
            (ids + 1, ids, 'prediction must hold ids from 0 to 2, got 1 to 3'),
            (ids, ids - 1, 'truth must hold ids from 0 to 2, got -1 to 1'),
            (ids, torch.full((3,), 255), 'all of them are ignored'),
        ):
            with pytest.raises(ValueError, match=said):
                clustering_miou(prediction, truth, 3, 3, matching)


def test_matchings_differ_where_clusters_outnumber_classes():
    truth = torch.tensor([0, 0, 1, 1, 1, 1])
    halves = torch.tensor([0, 0, 1, 1, 2, 2])
    assert clustering_miou(halves, truth, 3, 2, 'many') == pytest.approx(100)
    assert clustering_miou(halves, truth, 3, 2, 'hungarian') == pytest.approx((50 + 50) / 2)
    # By IoU, not by the share of the cluster: most of cluster 0 is class 0, of which it holds little.
    truth = torch.tensor([0] * 3 + [1] * 2 + [0] * 20)
    prediction = torch.tensor([0] * 5 + [1] * 20)
    assert clustering_miou(prediction, truth, 2, 2, 'many') == pytest.approx(100 * (20 / 23 + 2 / 5) / 2)
    with pytest.raises(ValueError, match="got 'best'"):
        clustering_miou(truth, truth, 2, 2, 'best')


class TestProbe:
    @pytest.mark.parametrize('images', (1, 4))
    def test_maps_that_hold_the_labels_give_all(self, images):
        maps, labels = one_hot(images)
        labels[:, :3] = 255
        few, many = overclustering(maps, labels, 3, (3, 6), seeds=(0, 1))
        assert few.hungarian == few.many == pytest.approx((100, 100))
        assert many.many == pytest.approx((100, 100))
        assert (many.clusters, many.cells) == (6, images * 20)

    def test_noise_gives_chance_and_an_absent_class_costs_its_share(self):
        maps, labels = one_hot(30)
        noise = torch.randn(maps.shape, generator=torch.Generator().manual_seed(0))
        assert max(overclustering(noise, labels, 3, (3,))[0].hungarian) < 27  # of equal parts: 20
        assert overclustering(maps, labels, 4, (3,))[0].many == pytest.approx(3 * (75,))

    def test_clusters_are_needed(self):
        with pytest.raises(ValueError, match=r'must be 1 or more, got \[3, 0\]'):
            overclustering(*one_hot(), 3, (3, 0))

    def test_same_again_and_the_random_state_stays(self):
        maps, labels = one_hot(6)
        maps = maps + torch.randn(maps.shape)
        before = torch.get_rng_state()
        first = overclustering(maps, labels, 3, (5,))
        assert torch.equal(torch.get_rng_state(), before)
        assert overclustering(maps, labels, 3, (5,)) == first
        assert overclustering(maps, labels, 3, (5,), (2,))[0].many == first[0].many[2:]
