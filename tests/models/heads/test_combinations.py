"""Every kind of unit with every rule and every objective: a step, or a sentence when the head is built."""

import copy
import itertools

import pytest
import torch

from densecl.registry import MODELS
from tests.models.heads.made import CHANNELS, DIM, build, make_views, maps, step

MLP = dict(type='densecl.MLP', channels=(CHANNELS, 8, DIM))
CONV = dict(type='densecl.ConvMLP', channels=(CHANNELS, 8, DIM))
PROTOTYPES = dict(type='densecl.PrototypeProjector', channels=(CHANNELS, DIM), prototypes=7)
SLOTS = dict(type='densecl.SlotProjector', channels=(CHANNELS, DIM), slots=7)
BOTH = dict(
    type='densecl.ImagePatchProjectors',
    image=MLP,
    patches=dict(type='densecl.PatchProjector', patches=2, together=dict(MLP, channels=(2 * CHANNELS, DIM))),
)

#: name -> units, projector, kind of the sets, number of views
UNITS = {
    'Image': ('Image', MLP, None, 2),
    'Cells': ('Cells', CONV, None, 2),
    'Boxes': (dict(type='densecl.Boxes', bins=1), MLP, None, 2),
    'Windows': ('Windows', CONV, None, 2),
    'Masks': ('Masks', MLP, None, 2),
    'Prototypes': ('Prototypes', PROTOTYPES, None, 2),
    'cells of Groups': ('Groups', SLOTS, 'cells', 2),
    'slots of Groups': ('Groups', SLOTS, 'slots', 2),
    'images of Patches': (dict(type='densecl.Patches', patches=2), BOTH, 'global', 6),
    'patches of Patches': (dict(type='densecl.Patches', patches=2), BOTH, 'local', 6),
}
RULES = {
    'SameRow': 'SameRow',
    'SameLabel': 'SameLabel',
    'SameId': 'SameId',
    'MostSimilar': 'MostSimilar',
    'MostSimilar projections': dict(type='MostSimilar', of='projections'),
    'ByLocation': 'ByLocation',
    'NearestFeature': dict(type='NearestFeature', top=2),
    'NearestLocation': dict(type='NearestLocation', top=2),
    'SetSimilarity': 'SetSimilarity',
    'SharedGrid': 'SharedGrid',
    'AnyOf': dict(type='AnyOf', rules=['densecl.MostSimilar', 'densecl.ByLocation']),
}
OBJECTIVES = {
    'InfoNCE queue': dict(type='InfoNCE', queue=9, dim='width'),
    'InfoNCE keys': dict(type='InfoNCE', queue=0, batch='keys'),
    'InfoNCE views': dict(type='InfoNCE', queue=9, dim='width', batch='views'),
    'InfoNCE units': dict(type='InfoNCE', queue=0, batch='units', mean='counted'),
    'InfoNCE units+own': dict(type='InfoNCE', queue=0, batch='units+own'),
    'InfoNCE image': dict(type='InfoNCE', queue=0, batch='image', form='in', mean='counted'),
    'InfoNCE others': dict(type='InfoNCE', queue=0, batch='others', mean='counted'),
    'InfoNCE apart': dict(type='InfoNCE', queue=0, batch='views', form='apart', mean='images'),
    'Triplet': dict(type='Triplet'),
    'Cosine': dict(type='Cosine', mean='images'),
    'BarlowTwins': dict(type='BarlowTwins'),
    'VICReg': dict(type='VICReg'),
    'PositionVICReg': dict(type='PositionVICReg'),
    'SwappedPrediction': dict(type='SwappedPrediction', queue=9, dim=DIM, queue_start=0),
    'SelfDistillation': dict(type='SelfDistillation', prototypes=7),
    'NCE': dict(type='NCE', images=8, dim='pooled', negatives=4),
    'PrototypeAlignment': dict(type='PrototypeAlignment', classes=3, dim='width'),
    'LabelCrossEntropy': dict(type='LabelCrossEntropy'),
}


def head_of(units, rule, objective):
    """The head, both directions."""
    made, projector, kind, _ = UNITS[units]
    scores = units in ('Prototypes', 'cells of Groups')
    width = {'width': 7 if scores else DIM, 'pooled': DIM}
    if units == 'Prototypes':
        width['width'] = 7
    config = {k: width.get(v, v) if isinstance(v, str) else v for k, v in OBJECTIVES[objective].items()}
    if config['type'] == 'InfoNCE' and config.get('queue'):
        config['dim'] = DIM
    sets = [(kind, v) if kind else v for v in (0, 1)]
    named = {k: dict(v, type=f'densecl.{v["type"]}') if isinstance(v, dict) else f'densecl.{v}' for k, v in RULES.items()}
    config['type'] = f'densecl.{config["type"]}'
    made = made if isinstance(made, dict) else f'densecl.{made}'
    return build(made, config, named[rule], projector=projector, pairs=(tuple(sets), tuple(sets[::-1])))


@pytest.mark.parametrize(('units', 'rule'), itertools.product(UNITS, RULES))
def test_a_step_or_a_sentence(units, rule):
    ran = 0
    for objective in OBJECTIVES:
        try:
            head = head_of(units, rule, objective)
        except ValueError as error:
            text = str(error)
            assert 'needs' in text and 'take' in text and '\n' not in text, text
            assert 'matching=' in text or 'objective=' in text
            continue
        count = UNITS[units][3]
        views = make_views(count=count, labels=torch.tensor([0, 1, 0]))
        for target in (None, copy.deepcopy(head.projector)):
            levels = maps(count)
            for _ in range(2):
                result = step(head.train(), levels, views, target)
                assert result.loss.isfinite(), (objective, result.loss)
            gradients = torch.autograd.grad(result.loss, levels, allow_unused=True)
            assert all(g is None or g.isfinite().all() for g in gradients), objective
        ran += 1
    assert ran or (units, rule) not in REFUSED or REFUSED[units, rule]
    possible = MODELS.build(dict(type=_type(units))).gives if units else ()
    needs = MODELS.build(_rule(rule)).needs
    assert bool(ran) == (needs <= possible), 'a rule whose needs are met runs with some objective'


REFUSED: dict = {}


def _type(units):
    made = UNITS[units][0]
    return made['type'] if isinstance(made, dict) else f'densecl.{made}'


def _rule(rule):
    config = RULES[rule]
    return dict(config, type=f'densecl.{config["type"]}') if isinstance(config, dict) else dict(type=f'densecl.{config}')
