"""Object discovery, boxes and the linear classifier agree with loops, and know what they should."""

import numpy as np
import pytest
import torch
from oracles import objects as oracle

from densecl.evaluation import linear_predict
from densecl.evaluation.box_retrieval import box_features, box_retrieval
from densecl.evaluation.discovery import discover, lost_box


def scene(x0, y0, x1, y1, grid=(6, 8)):
    """Positive maps of one object on a ground, and its box as shares."""
    image = torch.tensor([1.0, 3.0]).view(2, 1, 1).repeat(1, *grid)
    image[:, y0:y1, x0:x1] = torch.tensor([3.0, 1.0]).view(2, 1, 1)
    return image, torch.tensor([[x0, y0, x1, y1]]) / torch.tensor([grid[1], grid[0]] * 2).double()


class TestLost:
    def test_agrees_with_a_flood_fill(self):
        for seed in range(12):
            features = torch.randn(3, 5, 6, generator=torch.Generator().manual_seed(seed))
            for k in (1, 6, 30, 100):
                assert lost_box(features, k).tolist() == oracle.lost(features.numpy(), k)

    def test_cells_of_zeros_give_a_box_of_one_cell(self):
        assert lost_box(torch.zeros(4, 3, 3)).tolist() == [0, 0, 1, 1]


class TestDiscovery:
    def test_objects_are_found_on_positive_maps(self):
        images, boxes = zip(*(scene(*b) for b in ((1, 1, 4, 4), (5, 0, 8, 3), (2, 3, 4, 6))), strict=True)
        found = discover(torch.stack(images).half(), boxes)
        assert (found.corloc, found.images, found.without, found.cells, found.k) == (100, 3, 0, 48, 6)
        assert found.whole == 0

    def test_one_of_many_boxes_is_enough_and_images_without_do_not_count(self):
        image, box = scene(1, 1, 4, 4)
        both = torch.cat([torch.tensor([[0.0, 0.0, 0.1, 0.1]]), box])
        found = discover(torch.stack([image, image, image]), [both, box[:0], both[:1]])
        assert (found.corloc, found.images, found.without) == (50, 2, 1)
        with pytest.raises(ValueError, match='no test image has one'):
            discover(image[None], [box[:0]])

    def test_half_of_the_box_is_enough(self):
        image, _ = scene(0, 0, 2, 2)
        assert discover(image[None], [torch.tensor([[0.0, 0.0, 0.25, 1 / 6]]).double()]).corloc == 100
        assert discover(image[None], [torch.tensor([[0.0, 0.0, 0.24, 1 / 6]]).double()]).corloc == 0


class TestBoxes:
    def test_the_mean_counts_cells_by_area(self):
        image = torch.randn(3, 4, 5)
        boxes = torch.tensor([[3, 4, 17, 9], [0, 0, 50, 40], [21, 33, 22, 34], [10, 20, 30, 40]])
        boxes = boxes / torch.tensor([50, 40, 50, 40]).double()
        wanted = [oracle.box_mean(image, box, 10) for box in boxes]
        np.testing.assert_allclose(box_features(image, boxes), wanted, rtol=1e-4, atol=1e-5)

    @staticmethod
    def part(images, classes=(1, 2, 3), noise=False):
        """Two boxes an image, cells that hold the class of the box, or noise."""
        generator = torch.Generator().manual_seed(images)
        maps = torch.randn(images, 4, 4, 8, generator=generator)
        boxes = []
        for image in maps:
            ids = torch.tensor(classes)[torch.randint(len(classes), (2,), generator=generator)]
            if not noise:
                image[:] = 0.1
                image[ids[0], :, :4] = image[ids[1], :, 4:] = 1
            boxes.append((torch.tensor([[0.0, 0.0, 0.5, 1.0], [0.55, 0.1, 1.0, 0.9]]).double(), ids))
        return maps, boxes

    def test_classes_are_found_and_noise_gives_chance(self):
        found = box_retrieval(*self.part(30), *self.part(20), 4)
        assert found.knn == found.linear == dict(top1=100, mean_class=100)
        assert (found.memory, found.tested, found.k, found.absent, found.unseen) == (60, 40, 20, (), ())
        noise = box_retrieval(*self.part(150, noise=True), *self.part(149, noise=True), 4)
        assert max(noise.knn['mean_class'], noise.linear['mean_class']) < 45

    def test_absent_and_unseen_classes_are_told(self):
        found = box_retrieval(*self.part(5, (1, 2)), *self.part(20, (1, 3)), 5)
        assert (found.absent, found.unseen, found.k) == ((2, 4), (3,), 10)
        assert found.knn['mean_class'] == found.linear['mean_class'] == 50

    def test_boxes_are_needed_in_both_parts(self):
        maps, boxes = self.part(2)
        none = [(places[:0], ids[:0]) for places, ids in boxes]
        with pytest.raises(ValueError, match='got 0 to learn from and 4 to classify'):
            box_retrieval(maps, none, maps, boxes, 4)


class TestLinear:
    def test_agrees_with_gradient_descent(self):
        generator = torch.Generator().manual_seed(0)
        labels = torch.arange(45) % 3
        bank = torch.eye(3)[labels] @ torch.randn(3, 4, generator=generator) + torch.randn(45, 4)
        queries = 2 * torch.randn(300, 4, generator=generator)
        for decay in (0.01, 0.3):
            wanted = oracle.logistic(queries.numpy(), bank.numpy(), labels.numpy(), decay, steps=3000)
            # A query on the border between two classes may fall either way.
            assert (linear_predict(queries, bank, labels, decay).numpy() == wanted).mean() > 0.99

    def test_scale_and_offset_of_channels_do_not_matter(self):
        bank, labels = torch.randn(50, 3), torch.arange(50) % 2
        bank[:, 0] += 4 * labels
        with torch.no_grad():
            found = linear_predict(bank, bank, labels)
        assert (found == labels).float().mean() > 0.9
        assert torch.equal(linear_predict(1e3 * bank + 7, 1e3 * bank + 7, labels), found)

    def test_what_is_wrong_is_said(self):
        rows, labels = torch.randn(4, 3), torch.tensor([0, 1, 0, 1])
        with pytest.raises(ValueError, match=r'must be \(N, C\) and \(M, C\)'):
            linear_predict(rows[:, :2], rows, labels)
        with pytest.raises(ValueError, match='decay above 0'):
            linear_predict(rows, rows, labels, 0.0)
        with pytest.raises(ValueError, match='must be 4 classes'):
            linear_predict(rows, rows, labels[:3])
