"""Every kind of unit with every rule and every objective: a step, or one sentence when the head is built."""

import copy
import itertools

import pytest
import torch

from densecl.registry import MODELS
from tests.models.heads.made import CHANNELS, DIM, GRID, build, make_views, maps, step

WIDTH = 7  # of prototypes and slots
MLP = dict(type='densecl.MLP', channels=(CHANNELS, 8, DIM))
CONV = dict(type='densecl.ConvMLP', channels=(CHANNELS, 8, DIM))
PROTOTYPES = dict(type='densecl.PrototypeProjector', channels=(CHANNELS, DIM), prototypes=WIDTH)
SLOTS = dict(type='densecl.SlotProjector', channels=(CHANNELS, DIM), slots=WIDTH)
TOGETHER = dict(type='densecl.MLP', channels=(2 * CHANNELS, DIM))
BOTH = dict(
    type='densecl.ImagePatchProjectors',
    image=MLP,
    patches=dict(type='densecl.PatchProjector', patches=2, together=TOGETHER),
)
PATCHES = dict(type='Patches', patches=2)

#: name -> units, projector, kind of the sets, number of views
UNITS = {
    'Image': (dict(type='Image'), MLP, None, 2),
    'Cells': (dict(type='Cells'), CONV, None, 2),
    'LabelledCells': (dict(type='LabelledCells', regions='masks'), CONV, None, 2),
    'Boxes': (dict(type='Boxes', bins=1), MLP, None, 2),
    'Windows': (dict(type='Windows'), CONV, None, 2),
    'Masks': (dict(type='Masks'), MLP, None, 2),
    'CellPrototypes': (dict(type='CellPrototypes'), PROTOTYPES, None, 2),
    'foreground': (dict(type='CellPrototypes', foreground='norm', mass=0.9), PROTOTYPES, None, 2),
    'JointObjects': (dict(type='JointObjects', count=5), PROTOTYPES, None, 2),
    'Prototypes': (dict(type='Prototypes'), PROTOTYPES, None, 2),
    'cells of Groups': (dict(type='Groups'), SLOTS, 'cells', 2),
    'slots of Groups': (dict(type='Groups'), SLOTS, 'slots', 2),
    'images of Patches': (PATCHES, BOTH, 'global', 6),
    'patches of Patches': (PATCHES, BOTH, 'local', 6),
}
RULES = {
    'SameRow': dict(type='SameRow'),
    'SameLabel': dict(type='SameLabel'),
    'SameId': dict(type='SameId', share_repeats=True),
    'SameSegment': dict(type='SameSegment'),
    'MostSimilar': dict(type='MostSimilar'),
    'MostSimilar projections': dict(type='MostSimilar', of='projections'),
    'ByLocation': dict(type='ByLocation'),
    'NearestFeature': dict(type='NearestFeature', top=2),
    'NearestLocation': dict(type='NearestLocation', top=2),
    'SetSimilarity': dict(type='SetSimilarity'),
    'SharedGrid': dict(type='SharedGrid'),
    'AnyOf': dict(type='AnyOf', rules=['densecl.MostSimilar', 'densecl.ByLocation']),
}
OBJECTIVES = {
    'InfoNCE queue': dict(type='InfoNCE', queue=9, dim=DIM),
    'InfoNCE keys': dict(type='InfoNCE', queue=0, batch='keys'),
    'InfoNCE views': dict(type='InfoNCE', queue=9, dim=DIM, batch='views'),
    'InfoNCE units': dict(type='InfoNCE', queue=0, batch='units', mean='counted'),
    'InfoNCE units+own': dict(type='InfoNCE', queue=0, batch='units+own'),
    'InfoNCE units+queries': dict(type='InfoNCE', queue=0, batch='units+queries', mean='weights'),
    'InfoNCE image': dict(type='InfoNCE', queue=0, batch='image', form='in', mean='counted'),
    'InfoNCE others': dict(type='InfoNCE', queue=0, batch='others', mean='counted'),
    'InfoNCE apart': dict(type='InfoNCE', queue=0, batch='views', form='apart', mean='images'),
    'Triplet': dict(type='Triplet'),
    'Cosine': dict(type='Cosine', mean='images'),
    'FMutualInformation': dict(type='FMutualInformation'),
    'BarlowTwins': dict(type='BarlowTwins'),
    'VICReg': dict(type='VICReg'),
    'PositionVICReg': dict(type='PositionVICReg'),
    'SwappedPrediction': dict(type='SwappedPrediction', queue=9, dim=DIM, queue_start=0),
    'SelfDistillation': dict(type='SelfDistillation', prototypes=WIDTH),
    'NeighbourDistillation': dict(
        type='NeighbourDistillation', prototypes=WIDTH, dim=CHANNELS, queue=40, start=0
    ),
    'NCE': dict(type='NCE', images=8, dim=DIM, negatives=4),
    'PrototypeAlignment': dict(type='PrototypeAlignment', classes=3),
    'LabelCrossEntropy': dict(type='LabelCrossEntropy'),
    'Gram': dict(type='Gram'),
    'Regression': dict(type='Regression'),
    'SigmoidContrast': dict(type='SigmoidContrast'),
    'KernelAlignment': dict(type='KernelAlignment'),
    'KoLeo': dict(type='KoLeo'),
    'NeighbourOrder': dict(type='NeighbourOrder', count=5),
    'InContext': dict(type='InContext'),
    'QueueDistillation': dict(type='QueueDistillation', queue=9, dim=DIM),
    'SimilarityRows': dict(type='SimilarityRows'),
    'Reconstruction': dict(type='Reconstruction'),
    'Reconstruction border': dict(type='Reconstruction', border=1),
    'Adversarial': dict(type='Adversarial'),
    'OnlineClusters': dict(type='OnlineClusters'),
}
LABELS = torch.tensor([0, 1, 0])


def scoped(config, **kwargs):
    return dict(config, type=f'densecl.{config["type"]}', **kwargs)


def channels_of(units):
    """The width of what is compared."""
    config, _, kind, _ = UNITS[units]
    return WIDTH if 'scores' in MODELS.build(scoped(config)).gives_of(kind) else DIM


def parts(units, rule, objective):
    """Configs of units, rule and objective; the kind of the sets."""
    config, _, kind, _ = UNITS[units]
    width = {}
    if objective == 'PrototypeAlignment':  # its anchors are as wide as what is compared
        width['dim'] = channels_of(units)
    if objective == 'OnlineClusters':  # the queries are scores of its clusters
        width = dict.fromkeys(('dim', 'clusters'), channels_of(units))
    if objective == 'Adversarial':
        width['discriminator'] = dict(type='densecl.ConvMLP', channels=(channels_of(units), 1))
    return scoped(config), scoped(RULES[rule]), scoped(OBJECTIVES[objective], **width), kind


def head_of(units, rule, objective):
    """The head, both directions."""
    config, matching, scoring, kind = parts(units, rule, objective)
    sets = [(kind, v) if kind else v for v in (0, 1)]
    return build(config, scoring, matching, projector=UNITS[units][1], pairs=(tuple(sets), tuple(sets[::-1])))


def what_is_missing(units, rule, objective):
    """What the head must refuse, from the statements of its parts alone; None where all is there."""
    *configs, kind = parts(units, rule, objective)
    units, rule, objective = (MODELS.build(config) for config in configs)
    given = units.gives_of(kind)
    if not rule.needs <= given:
        return 'matching='
    if 'one answer' in objective.needs and not rule.one_answer:
        return 'needs one answer a unit'
    if 'rows' in objective.needs and rule.reads:
        return 'rows that are the units themselves'
    if rule.across and not objective.across:
        return 'names answers among candidates of other images'
    return None if objective.needs - {'one answer', 'own', 'rows'} <= given else 'objective='


def two_steps(head, levels, views, target):
    """The results of two steps; the second meets what the first left behind."""
    results = [step(head, levels, views, target) for _ in range(2)]
    assert all(result.loss.isfinite() for result in results)
    return results


@pytest.mark.parametrize(('units', 'rule'), list(itertools.product(UNITS, RULES)))
def test_a_step_or_a_sentence(units, rule):
    for objective in OBJECTIVES:
        torch.manual_seed(0)
        missing = what_is_missing(units, rule, objective)
        if missing:
            with pytest.raises(ValueError, match=missing) as caught:
                head_of(units, rule, objective)
            assert '; take ' in str(caught.value) and '\n' not in str(caught.value)
            continue
        shared = head_of(units, rule, objective).train()
        momentum, target = copy.deepcopy(shared), copy.deepcopy(shared.projector)
        count = UNITS[units][3]
        views, levels = make_views(count=count, labels=LABELS), maps(count)
        torch.manual_seed(1)
        one = two_steps(shared, levels, views, None)
        torch.manual_seed(1)
        two = two_steps(momentum, levels, views, target)
        # The target is a copy: the first values are the same, but for the length of its prototypes (float32).
        if units != 'foreground':  # which is the target's alone
            torch.testing.assert_close(one[0].loss, two[0].loss, rtol=1e-6, atol=1e-8)
        for result in (one[1], two[1]):
            gradients = torch.autograd.grad(result.loss, levels, allow_unused=True)
            assert all(g is None or g.isfinite().all() for g in gradients), objective
            assert any(g is not None and g.any() for g in gradients), objective


def test_most_combinations_run():
    """So that the matrix above cannot pass by refusing."""
    outcomes = [what_is_missing(*names) for names in itertools.product(UNITS, RULES, OBJECTIVES)]
    assert len(outcomes) == 5712 and outcomes.count(None) == 1554


@pytest.mark.parametrize('units', ['Boxes', 'Windows', 'Masks'])
def test_units_that_are_not_there_change_nothing(units):
    """Region 3 of the first image: wherever it lies, losses and gradients of two steps are the same."""
    ran = 0
    for rule, objective in itertools.product(RULES, OBJECTIVES):
        if what_is_missing(units, rule, objective):
            continue
        torch.manual_seed(0)
        first = head_of(units, rule, objective).train()
        second, levels, found = copy.deepcopy(first), maps(), []
        for head, box in ((first, [1.0, 2, 20, 21]), (second, [3.0, 0, 9, 24])):
            views = make_views(labels=LABELS)
            for region in itertools.chain(*views.regions.values()):
                region.boxes[0, 3] = torch.tensor(box)
                if region.masks is not None:
                    region.ids[0, 3], region.masks[0, 3] = -1, torch.eye(GRID) * box[0]
            torch.manual_seed(1)  # of what an objective draws
            losses = [result.loss for result in two_steps(head, levels, views, None)]
            found.append([*losses, *torch.autograd.grad(losses[1], levels)])
        for one, other in zip(*found, strict=True):
            assert torch.allclose(one, other, rtol=1e-9, atol=1e-12), (rule, objective)
        ran += 1
    assert ran > 30


BARE = [name for name in UNITS if name in ('Image', 'Cells', 'Boxes', 'Windows', 'Masks')]
KEPT = ('InfoNCE queue', 'InfoNCE units', 'InfoNCE units+own', 'InfoNCE others')
KEPT += ('Triplet', 'Cosine', 'VICReg')


@pytest.mark.parametrize('units', BARE)
def test_large_float16_features_are_pooled_without_overflow(units):
    config, matching, scoring, _ = parts(units, 'SameRow', 'Cosine')
    losses = []
    for dtype in (torch.float16, torch.float32):
        head = build(config, scoring, matching, pairs=((0, 1), (1, 0))).float()
        torch.manual_seed(0)
        levels = [(1e4 * torch.randn(3, CHANNELS, GRID, GRID).clamp(1, 6)).half() for _ in range(2)]
        levels = [level.to(dtype).requires_grad_() for level in levels]
        with torch.autocast('cpu', torch.float16, enabled=dtype == torch.float16):
            loss = two_steps(head, levels, make_views(labels=LABELS), None)[1].loss
        assert all(x.isfinite().all() for x in torch.autograd.grad(loss, levels))
        losses.append(loss)
    torch.testing.assert_close(*losses, rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(('units', 'objective'), list(itertools.product(BARE, KEPT)))
def test_half_precision_with_zero_vectors(units, objective, dtype):
    """The features themselves are compared; all of one image are zero, and of one view of another."""
    if what_is_missing(units, 'SameRow', objective):
        return
    config, matching, scoring, _ = parts(units, 'SameRow', objective)
    if 'dim' in scoring:
        scoring['dim'] = CHANNELS
    head = build(config, scoring, matching, pairs=((0, 1), (1, 0))).float()
    levels = [torch.randn(3, CHANNELS, GRID, GRID).to(dtype) for _ in range(2)]
    levels[0][0] = levels[1][0] = levels[0][1] = 0
    levels = [level.requires_grad_() for level in levels]
    views = make_views(labels=LABELS)
    with torch.autocast('cpu', torch.bfloat16):
        result = two_steps(head, levels, views, None)[1]
    assert result.loss.dtype == torch.float32
    for level in torch.autograd.grad(result.loss, levels):
        assert level.isfinite().all() and level.abs().max() < 100
