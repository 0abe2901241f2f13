"""Label-free meters agree with their definitions in float64, and see what they are made to see."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from oracles import meters as oracle

from densecl.evaluation.clustering import kmeans
from densecl.evaluation.correspondence import correspondence, second_images
from densecl.evaluation.drift import cluster_labels, label_retrieval, linear_cka
from densecl.evaluation.dse import dse


def smooth(count=10, channels=6, height=4, width=5):
    """Maps whose neighbouring cells are alike."""
    return F.interpolate(torch.randn(count, channels, 2, 3), (height, width), mode='bilinear')


class TestKmeans:
    def test_ends_at_a_fixed_point_with_separate_groups_found(self):
        truth = torch.arange(60) % 3
        rows = 10 * torch.eye(3)[truth] + 0.1 * torch.randn(60, 3)
        centres, ids = kmeans(rows, 3, torch.Generator().manual_seed(0))
        assert all(len(ids[truth == t].unique()) == 1 for t in range(3))
        torch.testing.assert_close(centres[ids], torch.stack([rows[truth == t].mean(0) for t in truth]))

    def test_equal_rows_and_more_clusters_than_rows(self):
        centres, ids = kmeans(torch.ones(4, 2), 3, torch.Generator())
        assert (centres == 1).all()
        assert len(kmeans(torch.randn(4, 2), 9, torch.Generator())[0]) == 4

    def test_first_centres_are_drawn_by_the_power_of_the_distance(self):
        rows = torch.tensor([[0.0], [0.0], [1.0], [3.0]])
        drawn = [
            kmeans(rows, 2, torch.Generator().manual_seed(s), iterations=0, power=1.0)[0].flatten().tolist()
            for s in range(2000)
        ]
        second = [b for a, b in drawn if a == 0]
        assert len(second) == pytest.approx(1000, abs=100)
        assert second.count(3.0) / len(second) == pytest.approx(3 / 4, abs=0.05)


class TestDse:
    @pytest.mark.parametrize('channels', (6, 30))
    def test_agrees_with_its_definition(self, channels):
        maps = smooth(channels=channels)
        generator = torch.Generator().manual_seed(3)

        def cluster(rows, k):
            centres, ids = kmeans(torch.tensor(rows).float(), k, generator, power=1.0)
            return centres.double().numpy(), ids.numpy()

        wanted = oracle.dse_terms(maps, cluster, lambda n: torch.randperm(n, generator=generator))
        found = dse(maps, seed=3)
        terms = (found.inter, found.intra_batch, found.intra_image, found.dim)
        np.testing.assert_allclose(terms, wanted, rtol=1e-4)
        assert found.value == pytest.approx(wanted[0] + wanted[3] - (wanted[1] + wanted[2]) / 2, rel=1e-4)

    def test_scale_and_offset_do_not_matter_and_the_random_state_stays(self):
        maps, before = smooth(), torch.get_rng_state()
        first = dse(maps)
        assert torch.equal(torch.get_rng_state(), before)
        assert dse(7 * maps).value == pytest.approx(first.value, rel=1e-4)
        assert dse(maps) == first

    def test_collapsed_maps_give_a_number(self):
        assert math.isfinite(dse(torch.ones(3, 4, 2, 2)).value)
        assert dse(smooth()).dim > dse(smooth()[:, :1].expand(-1, 6, -1, -1)).dim + 0.3


class TestCorrespondence:
    @pytest.mark.parametrize('change', ('photometric', 'scale', 'flip'))
    def test_agrees_with_a_loop_over_cells(self, change):
        images = torch.randint(256, (3, 32, 40, 3), dtype=torch.uint8)
        affine = second_images(images, change, seed=1)[1]
        first, second = torch.randn(3, 5, 4, 5), torch.randn(3, 5, 4, 5)
        place = lambda b, y, x: (affine[b, 0] + affine[b, 1] * torch.tensor([y, x])).tolist()  # noqa: E731
        wanted = oracle.correspondence(first, second, place)
        found = correspondence(first, second, affine)
        np.testing.assert_allclose((found.accuracy, found.chance, found.same_index), wanted, rtol=1e-5)

    def test_the_affine_is_where_the_pixels_went(self):
        """Colours that are their own coordinates; the photometric change leaves places alone."""
        y, x = torch.meshgrid(torch.arange(64), torch.arange(96), indexing='ij')
        images = torch.stack([2 * y, 2 * x, 0 * y], 2).to(torch.uint8).expand(4, -1, -1, -1)
        for change in ('scale', 'flip'):
            changed, affine = second_images(images, change)
            assert changed.shape == images.shape
            for b in range(4):
                shown = changed[b, 20, 30, :2].float() / 2 + 0.5  # the pixel of the first that lies here
                share = affine[b, 0] + affine[b, 1] * shown / torch.tensor([64, 96])
                torch.testing.assert_close(
                    share * torch.tensor([64, 96]), torch.tensor([20.5, 30.5]), atol=1.5, rtol=0
                )
        changed, affine = second_images(images, 'photometric')
        assert affine[:, 0].abs().max() == 0
        assert (changed != images).any()

    def test_images_of_16_bits_change_as_those_of_8(self):
        small = torch.randint(0, 256, (2, 32, 48, 4), dtype=torch.uint8)
        large = (small.int() * 16).to(torch.uint16)
        for change in ('photometric', 'scale', 'flip'):
            (one, _), (two, _) = (second_images(images, change) for images in (small, large))
            assert two.dtype == torch.uint16
            assert (two.int() - 16 * one.int()).abs().max() <= 16  # one step of the 8 bits

    def test_content_is_found_and_position_gives_itself_away(self):
        maps = torch.randn(4, 16, 6, 8)
        flip = torch.tensor([[0.0, 1.0], [1.0, -1.0]]).expand(4, 2, 2)
        content = correspondence(maps, maps.flip(3), flip)
        assert content.accuracy == 1
        assert content.same_index == 0
        position = maps[:1].expand(4, -1, -1, -1)
        fooled = correspondence(position, position, flip)
        assert fooled.same_index == 1
        assert fooled.accuracy == pytest.approx(2 / 8)  # the two middle columns

    def test_unknown_change(self):
        with pytest.raises(ValueError, match="got 'rotate'"):
            second_images(torch.zeros(1, 8, 8, 3, dtype=torch.uint8), 'rotate')


class TestDrift:
    def test_cka_agrees_with_gram_matrices(self):
        first, second = smooth(), smooth(channels=9)
        assert linear_cka(first, second) == pytest.approx(oracle.cka(first, second), rel=1e-6)

    def test_rotation_is_no_drift_and_noise_is(self):
        maps = smooth(30)
        turn = torch.linalg.qr(torch.randn(6, 6))[0]
        turned = 3 * torch.einsum('bchw,cd->bdhw', maps, turn)  # c, d: channels
        assert linear_cka(maps, turned) == pytest.approx(1)
        assert linear_cka(maps, torch.randn(30, 6, 4, 5)) < 0.1
        with pytest.raises(ValueError, match='same cells'):
            linear_cka(maps, maps[:, :, 1:])

    def test_labels_of_the_start_are_found_until_it_is_forgotten(self):
        ids = torch.randint(4, (12, 4, 5))
        maps = F.one_hot(ids, 8).permute(0, 3, 1, 2).float() + 0.05 * torch.randn(12, 8, 4, 5)
        labels = cluster_labels(maps, 4)
        assert all(len(labels[ids == i].unique()) == 1 for i in range(4))
        assert label_retrieval(maps, labels) == 1
        assert label_retrieval(torch.randn(12, 8, 4, 5), labels) < 0.5
