"""Choices that do not fit together are refused in one sentence, when the head is built."""

import pytest

from densecl.models.heads import Head
from densecl.models.heads.needs import _UNITS
from densecl.models.losses.objective import Objective
from densecl.models.matching import Rule
from densecl.registry import MODELS
from tests.models.heads.made import build

GROUPS = dict(units='Groups', projector=dict(type='SlotProjector', channels=(6, 5), slots=7))
INFO_NCE = dict(type='InfoNCE', queue=0, batch='keys')


def of_kind(kind):
    return (((kind, 0), (kind, 1)),)


#: what is refused -> all that its sentence says after the name of the field
REFUSED = {
    'grid': (
        dict(units='Boxes', matching='ByLocation'),
        "matching=ByLocation needs cells of a grid, which units=Boxes do not give; take units='Cells', or "
        'another matching',
    ),
    'place': (
        dict(units='Image', matching='NearestLocation'),
        'matching=NearestLocation needs units whose place in the image is known, which units=Image do not '
        "give; take units='Cells' or 'Boxes', or another matching",
    ),
    'ids': (
        dict(units='Cells', matching='SameId'),
        "matching=SameId needs units with ids, which units=Cells do not give; take units='Boxes' or 'Masks', "
        'or another matching',
    ),
    'features': (
        dict(units='Windows', matching='MostSimilar'),
        'matching=MostSimilar needs units that have features of the backbone, which units=Windows do not '
        "give; take units='Cells', or another matching",
    ),
    'detections': (
        dict(units='Boxes', objective='BoxRegression'),
        "objective=BoxRegression needs what a detector's heads say, which units=Boxes do not give; take "
        "units='DetectorBoxes', or another objective",
    ),
    'scores': (
        dict(units='Image', objective=dict(type='SelfDistillation', prototypes=3)),
        'objective=SelfDistillation needs scores of prototypes, which units=Image do not give; take '
        "units='Prototypes', or another objective",
    ),
    'embeddings': (
        dict(GROUPS, objective='SwappedPrediction', pairs=of_kind('cells')),
        'objective=SwappedPrediction needs embeddings in front of prototypes, which units=Groups of kind '
        "'cells' do not give; take units='Prototypes', or another objective",
    ),
    'others': (
        dict(units='Cells', objective=dict(INFO_NCE, batch='others')),
        'objective=InfoNCE needs places of the map as further candidates, which units=Cells do not give; '
        "take units='Windows', or another objective",
    ),
    'pooled': (
        dict(units='Prototypes', objective=INFO_NCE),
        'objective=InfoNCE needs units as wide as the pooled vectors of other images, which '
        "units=Prototypes do not give; take units='Image' or 'Cells', or another objective",
    ),
    'always': (
        dict(units='Boxes', objective='VICReg'),
        'objective=VICReg needs units that every view shows, which units=Boxes do not give; take '
        "units='Image' or 'Cells', or another objective",
    ),
    'codes': (
        dict(units='Cells', objective='Commitment'),
        'objective=Commitment needs units that go through a code book, which units=Cells do not give; take '
        "units='QuantizedCells', or another objective",
    ),
    'equal count': (
        dict(
            units=dict(type='TokenPrototypes', hidden_only=True),
            objective=dict(type='SwappedPrediction', queue=8, dim=3),
            pairs=of_kind('patches'),
        ),
        'objective=SwappedPrediction needs as many units in every process, which units=TokenPrototypes of '
        "kind 'patches' do not give; take hidden_only=False, or another objective",
    ),
    'single': (
        dict(units='Cells', matching='GuidedStopGradient'),
        'matching=GuidedStopGradient needs one unit an image, which units=Cells do not give; take '
        "units='Image', or another matching",
    ),
    'several': (
        dict(units='Image', objective=dict(INFO_NCE, batch='image')),
        "objective=InfoNCE needs several units an image, which units=Image do not give; take units='Cells' "
        "or 'Boxes', or another objective",
    ),
    'one answer': (
        dict(units='Cells', matching='ByLocation', objective='VICReg'),
        'objective=VICReg compares row with row: it needs one answer a unit, which matching=ByLocation does '
        "not promise; take matching='SameRow' or 'MostSimilar', or objective='InfoNCE' or 'Cosine'",
    ),
    'across': (
        dict(matching='SameLabel', objective='Cosine'),
        'matching=SameLabel names answers among candidates of other images: it needs an objective that meets '
        'these, which objective=Cosine as given does not; take '
        "objective=dict(type='InfoNCE', queue=0, batch='views'), or matching='SameRow'",
    ),
    'labels': (
        dict(units='Cells', matching='SameSegment', objective='Cosine'),
        'matching=SameSegment needs units with labels of segments, which units=Cells do not give; take '
        "units='LabelledCells', or another matching",
    ),
}


def scoped(config):
    """Names of the densecl scope."""
    if isinstance(config, str):
        return f'densecl.{config}'
    return dict(config, type=f'densecl.{config["type"]}') if isinstance(config, dict) else config


@pytest.mark.parametrize('what', REFUSED)
def test_sentences(what):
    config, sentence = REFUSED[what]
    parts = ('units', 'matching', 'objective', 'projector')
    config = {k: scoped(v) if k in parts else v for k, v in config.items()}
    with pytest.raises(ValueError) as caught:
        build(**config)
    assert str(caught.value) == sentence


def test_each_property_has_a_sentence():
    """What parts may ask for is all in the table; the sentence for boxes has no rule that needs it yet."""
    parts = [part for part in MODELS.module_dict.values() if isinstance(part, type)]
    parts = [part for part in parts if issubclass(part, Rule | Objective)]
    by_argument = {'equal count', 'features', 'grid', 'others', 'pooled', 'several'}  # of the part
    asked = by_argument.union(*(part.needs for part in parts))
    assert asked - {'one answer', 'own', 'rows'} <= set(_UNITS)
    assert set(REFUSED) | {'boxes'} == set(_UNITS) | {'one answer', 'across'}


def test_properties_are_those_of_the_kinds_of_a_pair():
    slots = dict(GROUPS, units=scoped('Groups'), projector=scoped(GROUPS['projector']))
    build(**slots, matching=scoped('SameId'), objective=scoped(INFO_NCE), pairs=of_kind('slots'))
    build(**slots, matching=scoped('SharedGrid'), pairs=of_kind('cells'))
    with pytest.raises(ValueError, match="SharedGrid needs cells of a grid, .* of kind 'slots'"):
        build(**slots, matching=scoped('SharedGrid'), pairs=of_kind('slots'))
    with pytest.raises(ValueError, match="SharedGrid needs cells of a grid, .* of kind 'slots'"):
        build(**slots, matching=scoped('SharedGrid'), pairs=((('cells', 0), ('slots', 1)),))


def test_every_rule_and_every_part_of_a_sum_is_asked():
    rules = [scoped('SameRow'), scoped('ByLocation')]
    with pytest.raises(ValueError, match='matching=ByLocation needs cells'):
        build(scoped('Image'), matching=rules)
    both = dict(type='densecl.Sum', objectives=[dict(type='densecl.Cosine'), dict(type='densecl.VICReg')])
    with pytest.raises(ValueError, match='objective=Sum compares row with row'):
        build(scoped('Cells'), both, rules[1])
    parts = [dict(type='densecl.Cosine'), scoped(dict(INFO_NCE, batch='views'))]
    labelled = dict(type='densecl.Sum', objectives=parts)
    assert isinstance(build(scoped('Image'), labelled, scoped('SameLabel')), Head)


def test_a_kind_without_an_entry_is_named():
    config = dict(units=scoped('Groups'), projector=scoped(GROUPS['projector']), pairs=of_kind('slots'))
    with pytest.raises(ValueError, match="heads: no entry for units of kind 'slots' in {'cells': 'Cosine'}"):
        build(**config, objective=dict(cells='Cosine'))


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        (dict(units='Cells', matching='SharedGrid', objective='CodeCrossEntropy'), 'asks for rows that are'),
        (dict(units='Cells', matching='SharedGrid', objective=dict(type='Reconstruction', border=1)), 'rows'),
        (dict(support=(2, 3)), r'support=\(2, 3\) is only for .*SimilarImages'),
        (dict(objective=dict(temperature=0.2)), "{'temperature': 0.2} has no 'type'"),
        (dict(pairs='crop'), "pairs must be 'crops' .* got 'crop'"),
        (dict(pairs=((0, -1),)), 'the number of a view, from 0, got -1'),
        (dict(pairs=(dict(query=0, key=1, weight=1.0, name='loss_g'),)), "'loss_g' must not contain 'loss'"),
        (dict(warmup_steps=-1), 'warmup_steps must be at least 0, got -1'),
    ],
)
def test_arguments_that_do_not_fit(config, message):
    parts = ('units', 'matching')
    config = {k: scoped(v) if k in parts else v for k, v in config.items()}
    if 'type' in config.get('objective', {}) or isinstance(config.get('objective'), str):
        config['objective'] = scoped(config['objective'])
    with pytest.raises(ValueError, match=message):
        build(**config)


def test_a_property_of_ones_own_is_named():
    @MODELS.register_module(force=True)
    class Deep(Objective):
        needs = frozenset({'depth'})

    with pytest.raises(ValueError, match="objective=Deep needs 'depth', which units=Image do not give"):
        build('densecl.Image', 'Deep', 'densecl.SameRow')
