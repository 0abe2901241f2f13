"""The slots belong to the projector: learned, moved with the target, saved."""

import torch

from densecl.models.pretrainers import MomentumPretrainer
from densecl.registry import MODELS


def test_layers_and_grouping():
    options = dict(norm=True, bias=True, activation='GELU')
    projector = MODELS.build(dict(type='densecl.SlotProjector', channels=(6, 8, 4), slots=5, **options))
    names = [type(layer).__name__ for layer in projector.mlp]
    assert names == ['Conv2d', 'BatchNorm2d', 'GELU', 'Conv2d']
    assert all(layer.bias is not None for layer in list(projector.mlp)[::3])
    maps = projector(torch.randn(2, 6, 3, 3))
    vectors, scores = projector.group(maps)
    assert maps.shape == (2, 4, 3, 3)
    assert (vectors.shape, scores.shape) == ((2, 5, 4), (2, 5, 3, 3))
    vectors.sum().backward()
    assert projector.slots.grad.abs().max() > 0


def test_the_target_has_its_own_moving_average_of_the_slots():
    model = MomentumPretrainer(
        backbone=dict(type='mmdet.ResNet', depth=18, base_channels=8, out_indices=(3,)),
        heads=dict(
            slots=dict(
                units='Groups',
                matching='SameId',
                pairs=[[('slots', 0), ('slots', 1)]],
                projector=dict(type='densecl.SlotProjector', channels=(64, 16, 8), slots=6),
                predictor=dict(type='densecl.MLP', channels=(8, 8)),
                objective=dict(type='densecl.InfoNCE', queue=0, batch='units'),
            )
        ),
        momentum=0.9,
    )
    model.init_target()
    online, target = model.heads['slots'].projector.slots, model.target.heads['slots'].slots
    assert torch.equal(online, target) and not target.requires_grad
    assert not any('predictor' in name for name, _ in model.target.named_parameters())
    before = online.detach().clone()
    with torch.no_grad():
        online += 1
    model.after_optimizer_step()
    torch.testing.assert_close(target, before + 0.1)
