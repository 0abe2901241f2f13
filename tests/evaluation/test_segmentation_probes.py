"""The probes agree with loops, know what they should, and leave the random state alone."""

import pytest
import torch
import torch.nn.functional as F
from oracles import segmentation as oracle
from torch import nn

from densecl.evaluation.features import FrozenEncoder, dense_features
from densecl.evaluation.linear_segmentation import linear_segmentation
from densecl.evaluation.retrieval_segmentation import (
    build_memory,
    class_frequencies,
    retrieval_segmentation,
)
from densecl.evaluation.segmentation import confusion, mean_iou
from densecl.registry import MODELS


def blocks(images, cell=8, grid=(3, 4), classes=3, noise=0.5, seed=0):
    """Label maps of square cells, one class each, and maps in which a class is a direction plus noise."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(classes, (images, *grid), generator=generator)
    directions = torch.eye(classes).repeat(1, 3)  # (K, C)
    maps = directions[ids] + noise * torch.randn(images, *grid, 3 * classes, generator=generator)
    labels = ids.repeat_interleave(cell, 1).repeat_interleave(cell, 2)
    return maps.permute(0, 3, 1, 2).half(), labels.to(torch.uint8)


class TestMeanIoU:
    def test_agrees_with_sets_of_pixels_and_names_what_is_absent(self):
        truth = torch.randint(4, (3, 5, 7))
        truth[truth == 2] = 255  # so that class 2 is absent
        predicted = torch.randint(4, (3, 5, 7))
        found = mean_iou(confusion(predicted, truth, 4).sum(0))
        wanted = oracle.iou(predicted, truth, 4)
        assert found.absent == (2,)
        assert set(wanted) == {0, 1, 3}
        for c, value in wanted.items():
            assert found.per_class[c] == pytest.approx(value)
        assert found.mean == pytest.approx(sum(wanted.values()) / 3)

    def test_images_are_counted_apart(self):
        truth, predicted = torch.randint(3, (4, 6, 6)), torch.randint(3, (4, 6, 6))
        apart = confusion(predicted, truth, 3)
        for i in range(4):
            assert torch.equal(apart[i], confusion(predicted[i : i + 1], truth[i : i + 1], 3)[0])
        assert apart.sum() == truth.numel()


class TestRetrieval:
    def test_class_frequencies_are_shares_of_labelled_pixels(self):
        labels = torch.randint(3, (12, 16))
        labels[torch.rand(12, 16) < 0.3] = 255
        labels[:4, :4] = 255  # a cell without a label
        found = class_frequencies(labels[None], 3, (3, 4))[0].permute(1, 2, 0)
        torch.testing.assert_close(found, torch.tensor(oracle.frequencies(labels, 3, 4)))
        assert not found[0, 0].any()

    def test_agrees_with_a_loop_over_cells(self):
        train, train_labels = blocks(3, noise=1.0)
        test, test_labels = blocks(2, noise=1.0, seed=1)
        memory, votes = build_memory(train, train_labels, 3, cells=5)
        assert memory.shape == (15, 9)
        shares = torch.stack(
            [
                oracle.retrieved(cell.tolist(), memory.tolist(), votes.tolist(), 4, 0.1)
                for cell in test.flatten(2).transpose(1, 2).flatten(0, 1)
            ]
        )
        shares = shares.view(2, 3, 4, 3).permute(0, 3, 1, 2)
        wanted = F.interpolate(shares, (24, 32), mode='bilinear').argmax(1)
        found = retrieval_segmentation(
            train, train_labels, test, test_labels, 3, k=4, temperature=0.1, cells=5
        )
        # A tie between classes may fall either way in float32.
        assert (found - confusion(wanted, test_labels, 3)).abs().sum() <= 4

    def test_rare_classes_lead(self):
        train, labels = blocks(40, grid=(6, 6))
        labels[:] = 0
        labels[:, 8:16, 8:16] = 1  # one cell of 36
        votes = build_memory(train, labels, 3, cells=6)[1]
        assert votes[:, 1].sum() > 0.8 * 40  # by chance 6 of 36

    def test_cells_without_labels_stay_out_of_the_memory(self):
        train, labels = blocks(2)
        labels[:, :, :24] = 255  # of 4 columns of cells the last has labels
        memory, votes = build_memory(train, labels, 3)
        assert len(memory) == 2 * 3
        torch.testing.assert_close(votes.sum(1), torch.ones(6))
        with pytest.raises(ValueError, match='all of them are ignored'):
            build_memory(train, torch.full_like(labels, 255), 3)


@pytest.mark.parametrize('probe', (linear_segmentation, retrieval_segmentation))
class TestBothProbes:
    def test_good_maps_beat_noise(self, probe):
        train, test = blocks(48, seed=2), blocks(16, seed=3)
        good = mean_iou(probe(*train, *test, 3).sum(0)).mean
        noise = torch.randn(48, 9, 3, 4), torch.randn(16, 9, 3, 4)
        bad = mean_iou(probe(noise[0], train[1], noise[1], test[1], 3).sum(0)).mean
        assert good > 60  # not 100: classes change within an enlarged cell
        assert bad < 35

    def test_same_again_and_the_random_state_stays(self, probe):
        data = *blocks(8, seed=4), *blocks(4, seed=5)
        before = torch.get_rng_state()
        first = probe(*data, 3)
        assert torch.equal(torch.get_rng_state(), before)
        torch.rand(3)
        assert torch.equal(probe(*data, 3), first)
        assert first.shape == (4, 3, 3)

    def test_what_is_predicted_is_seen_in_the_order_of_the_images(self, probe):
        train, test = blocks(8, seed=4), blocks(37, seed=5)  # more than two batches
        seen = []
        counts = probe(*train, *test, 3, seen=seen.append)
        predicted = torch.cat(seen)
        assert len(seen) > 1 and predicted.shape == test[1].shape
        assert torch.equal(confusion(predicted, test[1], 3), counts)


@pytest.mark.parametrize('dropout', (0.0, 0.4))
def test_linear_agrees_with_modules_in_float64(dropout):
    """Dropout of channels, batch norm, a 1x1 convolution from zero; the loss at a quarter of the side."""
    (train, labels), (test, truth) = blocks(20, noise=2.0), blocks(9, noise=2.0, seed=1)
    norm, conv = nn.BatchNorm2d(9, affine=False).double(), nn.Conv2d(9, 3, 1).double()
    nn.init.zeros_(conv.weight), nn.init.zeros_(conv.bias)
    optimizer = torch.optim.AdamW(conv.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=12 * 3)
    order, drawn = (torch.Generator().manual_seed(5) for _ in range(2))
    for _ in range(12):
        for rows in torch.randperm(20, generator=order).split(8):
            x = train[rows].double()
            if dropout:
                kept = torch.rand(len(rows), 9, 1, 1, generator=drawn) >= dropout
                x = torch.where(kept, x, 0) / (1 - dropout)
            scores = F.interpolate(conv(norm(x)), (6, 8), mode='bilinear')
            loss = F.cross_entropy(scores, labels[rows][:, 2::4, 2::4].long())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    wanted = F.interpolate(conv(norm.eval()(test.double())), (24, 32), mode='bilinear').argmax(1)
    found = linear_segmentation(train, labels, test, truth, 3, lr=0.01, batch_size=8, dropout=dropout, seed=5)
    # Scores that are equal to six digits may fall either way in float32.
    assert (found - confusion(wanted, truth, 3)).abs().sum() <= 4


class TestMaps:
    def test_maps_of_any_size_in_eval_mode_with_modes_restored(self):
        backbone = MODELS.build(dict(type='mmdet.ResNet', depth=18, norm_eval=False))
        backbone.train()
        record = dict(mean=[10.0, 20.0, 30.0], std=[2.0, 2.0, 2.0], channel_order='BGR')
        encoder = FrozenEncoder(backbone, record)
        images = torch.randint(256, (3, 64, 96, 3), dtype=torch.uint8)
        found = dense_features(encoder, images.split(2))
        assert (found.shape, found.dtype) == ((3, 512, 2, 3), torch.float16)
        assert backbone.training and backbone.bn1.training
        planes = images.flip(3).permute(0, 3, 1, 2).float()
        planes = (planes - torch.tensor([10.0, 20.0, 30.0]).view(3, 1, 1)) / 2
        with torch.no_grad():
            backbone.eval()
            wanted = backbone(planes)
        torch.testing.assert_close(found.float(), wanted[-1], atol=2e-3, rtol=2e-3)
        torch.testing.assert_close(encoder.maps(images, level=1), wanted[1])

    def test_a_class_token_is_no_map(self):
        vit = MODELS.build(dict(type='TimmViT', arch='vit_tiny_patch16_224', depth=1, img_size=32))
        images = torch.zeros(1, 32, 48, 3, dtype=torch.uint8)
        assert FrozenEncoder(vit).maps(images).shape == (1, 192, 2, 3)
