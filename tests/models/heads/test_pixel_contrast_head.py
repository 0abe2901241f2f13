"""The auxiliary head: what it contrasts, what it trains, and when."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from densecl.models.heads import PixelContrastHead
from densecl.models.heads.pixel_contrast import sample_anchors
from densecl.models.losses import functional as L
from densecl.registry import MODELS

CLASSES, CHANNELS = 3, 6


def head(**options):
    settings = dict(
        type='densecl.PixelContrastHead',
        in_channels=CHANNELS,
        channels=4,
        in_index=1,
        num_classes=CLASSES,
        max_views=1000,
        max_anchors=100_000,
        min_pixels=1,
        warmup_iters=0,
        projector=dict(type='densecl.ConvMLP', channels=(CHANNELS, 4)),
    )
    return MODELS.build(settings | options).double()


def samples(labels):
    return [SimpleNamespace(gt_sem_seg=SimpleNamespace(data=x)) for x in labels]


def batch(images=2, size=4, stride=3):
    """Two maps, of which the second is read, and labels of ``stride`` times its size."""
    maps = [torch.zeros(images, 2, 9, 9), torch.randn(images, CHANNELS, size, size).double()]
    maps[1].requires_grad_()
    labels = torch.randint(0, CLASSES, (images, 1, size * stride, size * stride))
    labels[..., :3, :] = 255
    return maps, labels.to(torch.uint8)


def expected(head, maps, labels, stride=3):
    """All labelled cells, none left out: contrast and cross-entropy; cells take the label at their corner."""
    small = labels[:, 0, ::stride, ::stride].long()
    valid = small != 255
    embeddings = head.projector(maps[1]).permute(0, 2, 3, 1)[valid]
    contrast = L.pixel_contrast(embeddings, small[valid], 0.1, 0.07)
    logits = head.classifier(maps[1]).permute(0, 2, 3, 1)[valid]
    return contrast, F.cross_entropy(logits, small[valid]), (logits.argmax(1) == small[valid]).float()


def test_losses_and_diagnostics():
    module = head()
    maps, labels = batch()
    contrast, classifier, right = expected(module, maps, labels)
    got = module.loss(maps, samples(labels), None)
    torch.testing.assert_close(got['loss_contrast'], 0.1 * contrast)
    torch.testing.assert_close(got['loss_classifier'], 0.4 * classifier)
    torch.testing.assert_close(got['accuracy'].float(), right.mean())
    assert got['anchors'] == len(right)
    torch.testing.assert_close(got['hard'], 1 - right.mean())
    assert {k for k in got if 'loss' in k} == {'loss_contrast', 'loss_classifier'}


@pytest.mark.parametrize('supervise', [False, True])
def test_the_classifier_teaches_the_backbone_only_if_told_to(supervise):
    module = head(supervise=supervise)
    maps, labels = batch()
    module.loss(maps, samples(labels))['loss_classifier'].backward()
    assert (maps[1].grad is not None) == supervise
    assert module.classifier.weight.grad.abs().sum() > 0


def test_the_contrast_teaches_backbone_and_projector():
    module = head(projector=None)
    maps, labels = batch()
    module.loss(maps, samples(labels))['loss_contrast'].backward()
    assert maps[1].grad.abs().sum() > 0
    assert all(p.grad.abs().sum() > 0 for p in (module.projector[0].weight, module.projector[-1].weight))
    assert module.classifier.weight.grad is None


def test_warm_up_counts_iterations_and_survives_a_resume():
    module = head(warmup_iters=3, memory=dict(length=2))
    maps, labels = batch()
    module.eval().loss(maps, samples(labels))
    assert module.iterations == 0
    module.train()
    values = []
    for step in range(5):
        if step == 2:
            resumed = head(warmup_iters=3, memory=dict(length=2))
            resumed.load_state_dict(module.state_dict())
            module = resumed
        got = module.loss(maps, samples(labels))
        values.append(got['loss_contrast'].item())
        gradient = torch.autograd.grad(got['loss_contrast'], module.projector[0].weight)[0]
        assert gradient.isfinite().all()
        assert bool(gradient.abs().sum()) == (step >= 3)
        assert bool(got['memory'] > 0) == (step >= 3)
    assert values[:3] == [0, 0, 0] and min(values[3:]) > 0


def test_without_a_labelled_pixel_losses_are_zero_and_every_parameter_has_a_gradient():
    module = head(projector=None, memory=dict(length=2))
    maps, labels = batch()
    labels[:] = 255
    got = module.loss(maps, samples(labels))
    assert got['loss_contrast'].item() == got['loss_classifier'].item() == 0
    (got['loss_contrast'] + got['loss_classifier']).backward()
    for parameter in module.parameters():
        assert torch.equal(parameter.grad, torch.zeros_like(parameter))
    assert got['memory'] == got['anchors'] == got['hard'] == 0


def test_memory_is_compared_with_first_and_written_afterwards():
    module = head(memory=dict(length=3))
    maps, labels = batch()
    first = module.loss(maps, samples(labels))
    torch.testing.assert_close(first['loss_contrast'], 0.1 * expected(module, maps, labels)[0])
    keys, classes = module.memory.read()
    small = labels[:, 0, ::3, ::3].long()
    embeddings = F.normalize(module.projector(maps[1]), dim=1).permute(0, 2, 3, 1)
    want = [
        F.normalize(embeddings[b][small[b] == c].mean(0), dim=0) for c in range(CLASSES) for b in range(2)
    ]
    torch.testing.assert_close(keys, torch.stack(want))
    assert classes.tolist() == [0, 0, 1, 1, 2, 2]
    valid = small != 255
    second = module.loss(maps, samples(labels))['loss_contrast']
    want = L.pixel_contrast(embeddings[valid], small[valid], 0.1, 0.07, keys=keys, key_labels=classes)
    torch.testing.assert_close(second, 0.1 * want)


def test_hard_pixels_are_those_the_classifier_gets_wrong(monkeypatch):
    seen = {}

    def watch(labels, wrong, **options):
        seen.update(options, labels=labels, wrong=wrong)
        return sample_anchors(labels, wrong, **options)

    monkeypatch.setattr('densecl.models.heads.pixel_contrast.sample_anchors', watch)
    module = head(max_views=5, min_pixels=None)
    maps, labels = batch()
    module.loss(maps, samples(labels))
    small = labels[:, 0, ::3, ::3].long().flatten(1)
    valid = small != 255
    assert torch.equal(seen['labels'], torch.where(valid, small, -1))
    predicted = module.classifier(maps[1]).argmax(1).flatten(1)
    assert torch.equal(seen['wrong'][valid], (predicted != small)[valid])
    assert seen['min_pixels'] == 6


def test_forward_gives_unit_embeddings_and_half_precision_trains():
    module = head(projector=None, memory=dict(length=2)).float()
    maps, labels = batch()
    maps = [m.detach().float() for m in maps]
    torch.testing.assert_close(module(maps).norm(dim=1), torch.ones(2, 4, 4))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        for _ in range(2):
            got = module.loss(maps, samples(labels))
            assert got['loss_contrast'].dtype == got['loss_classifier'].dtype == torch.float32
            (got['loss_contrast'] + got['loss_classifier']).backward()
    assert all(p.grad.isfinite().all() for p in module.parameters())


def test_the_wrong_map_is_named():
    maps, labels = batch()
    with pytest.raises(ValueError, match=r'in_channels is 6, but map 0 of \[2, 6\] channels has 2'):
        head(in_index=0).loss(maps, samples(labels))
    assert issubclass(PixelContrastHead, torch.nn.Module)
