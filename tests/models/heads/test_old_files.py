"""Older checkpoints, in which PIRL's and SlotCon's heads have other names."""

import copy
from functools import partial

import pytest
import torch
from mmengine.runner.checkpoint import load_state_dict
from torch import nn

from densecl.models.pretrainers import MomentumPretrainer, SharedPretrainer

BACKBONE = dict(type='densecl.TorchvisionResNet', arch='resnet18')
MLP = dict(type='densecl.MLP', channels=(512, 4))
PATCHES = dict(type='densecl.PatchProjector', patches=2, each=MLP, together=dict(MLP, channels=(8, 4)))
PIRL = dict(
    units=dict(type='densecl.Patches', images=1, patches=2),
    projector=dict(type='densecl.ImagePatchProjectors', image=MLP, patches=PATCHES),
    pairs=[[('local', 0), ('global', 0)], [('global', 0), ('global', 0)]],
    objective=dict(type='densecl.NCE', images=10, dim=4, negatives=6),
)
SLOTCON = dict(
    units='Groups',
    projector=dict(type='densecl.SlotProjector', channels=(512, 7), slots=5),
    predictor=dict(type='densecl.MLP', channels=(7, 7)),
    matching=dict(cells='SharedGrid', slots='SameId'),
    objective=dict(
        cells=dict(type='SelfDistillation', prototypes=5), slots=dict(type='InfoNCE', queue=0, batch='units')
    ),
    pairs=[[(kind, 0), (kind, 1)] for kind in ('cells', 'slots')],
)
OTHER = dict(projector=MLP, objective='densecl.Cosine')  # whose names stay
#: All entries of the heads whose names are others than in an old file: old -> new.
MOVED = {
    'image': {
        'projector.0.weight': 'projector.global.0.weight',
        'projector.0.bias': 'projector.global.0.bias',
        'patch_projector.each.0.weight': 'projector.local.each.0.weight',
        'patch_projector.each.0.bias': 'projector.local.each.0.bias',
        'patch_projector.together.0.weight': 'projector.local.together.0.weight',
        'patch_projector.together.0.bias': 'projector.local.together.0.bias',
        'objective.partition': 'objective.global.partition',
        'objective.rounds': 'objective.global.rounds',
        'objective.bank.vectors': 'objective.global.bank.vectors',
    },
    'slots': {'objective.center': 'objective.cells.center'},
}
MODELS = {
    'image': lambda: SharedPretrainer(backbone=BACKBONE, heads=dict(image=PIRL, other=OTHER)),
    'slots': lambda: MomentumPretrainer(backbone=BACKBONE, heads=dict(slots=SLOTCON)),
}


@pytest.mark.parametrize('load', [nn.Module.load_state_dict, partial(load_state_dict, strict=True)])
@pytest.mark.parametrize('name', MOVED)
def test_an_old_file_loads_strictly(name, load):
    saved, fresh = MODELS[name](), MODELS[name]()
    state = saved.state_dict()
    for i, entry in enumerate(state.values()):  # buffers too
        entry.copy_(torch.randn(entry.shape) + i)
    new = {k: v.clone() for k, v in state.items()}
    for old, now in MOVED[name].items():
        state[f'heads.{name}.{old}'] = state.pop(f'heads.{name}.{now}')
    names = list(state)
    load(fresh, state)
    assert all(torch.equal(v, new[k]) for k, v in fresh.state_dict().items())
    assert list(state) == names  # the caller's stays as it is


def test_a_new_file_is_taken_as_it_is():
    head, fresh = (MODELS['image']().heads['image'] for _ in range(2))
    state = copy.deepcopy(head.state_dict())
    fresh.load_state_dict(state)
    assert all(torch.equal(v, state[k]) for k, v in fresh.state_dict().items())


def test_what_belongs_nowhere_is_still_named():
    head = MODELS['image']().heads['image']
    state = head.state_dict() | {'projector.7.weight': torch.zeros(1)}
    with pytest.raises(RuntimeError, match=r'Unexpected key.*projector.7.weight'):
        head.load_state_dict(state)
