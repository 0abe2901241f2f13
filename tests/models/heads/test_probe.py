"""The online linear probe learns from the trunk and never teaches it."""

import pytest
import torch
import torch.nn.functional as F

from densecl.models.pretrainers import MomentumPretrainer
from tests.models.heads.made import views_of

LABELS = torch.tensor([0, 2, -1, 1])


def make_views(labels):
    return views_of([torch.randn(4, 3, 32, 32) for _ in range(2)], labels=labels)


def build(**kwargs):
    return MomentumPretrainer(
        backbone=dict(type='TorchvisionResNet', arch='resnet18'),
        heads=dict(
            image=dict(
                projector=dict(type='MLP', channels=(512, 8)),
                objective='Cosine',
            ),
            probe=dict(type='LinearProbe', channels=512, classes=3, **kwargs),
        ),
    )


@pytest.mark.parametrize('view', [0, 1])
def test_cross_entropy_and_accuracy_without_touching_the_trunk(view):
    model = build(view=view, loss_weight=0.5).eval()
    views = make_views(LABELS)
    logged = model.loss(views)
    features = model.encode(views.images[view])[-1].mean((2, 3))
    logits = F.linear(features, model.heads.probe.projector[0].weight, model.heads.probe.projector[0].bias)
    want = F.cross_entropy(logits[LABELS >= 0], LABELS[LABELS >= 0])
    torch.testing.assert_close(logged['loss_probe'], 0.5 * want)
    hits = (logits.argmax(1) == LABELS).sum() / 3
    torch.testing.assert_close(logged['probe_accuracy'], hits)
    logged['loss_probe'].backward()
    touched = {n for n, p in model.named_parameters() if p.grad is not None}
    assert touched == {'heads.probe.projector.0.weight', 'heads.probe.projector.0.bias'}


def test_the_trunk_learns_the_same_with_and_without_it():
    model, views = build().eval(), make_views(LABELS)
    gradients = []
    for losses in (('loss_image',), ('loss_image', 'loss_probe')):
        model.zero_grad()
        logged = model.loss(views)
        sum(logged[name] for name in losses).backward()
        gradients.append([p.grad.clone() for p in model.backbone.parameters()])
    for a, b in zip(*gradients, strict=True):
        assert torch.equal(a, b)


def test_labels_are_needed():
    with pytest.raises(ValueError, match="needs labels.*source=dict\\(type='ImageNet'\\)"):
        build().loss(make_views(None))
