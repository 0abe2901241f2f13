"""What the head does with any units: pairs, rules, passes, gradients, diagnostics, memory."""

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from densecl.models.heads.head import WATCHED, predict_matched, watched
from densecl.models.losses.objective import Objective
from densecl.models.matching import Rule
from densecl.registry import MODELS
from densecl.structures import Batch, Match, Units
from tests.models.heads.made import CHANNELS, DIM, GRID, Fixed, build, make_views, maps, score, step

MLP = dict(type='densecl.MLP', channels=(CHANNELS, 7, DIM))
CONV = dict(type='densecl.ConvMLP', channels=(CHANNELS, 7, DIM))
QUEUE = dict(type='densecl.InfoNCE', temperature=0.2, queue=9, dim=DIM)
BOTH = ((0, 1), (1, 0))
CELLS = ('densecl.Cells', 'densecl.Cosine', 'densecl.ByLocation')
GROUPS = dict(
    units='densecl.Groups',
    matching=dict(cells='densecl.SharedGrid', slots='densecl.SameId'),
    objective=dict(
        cells=dict(type='densecl.SelfDistillation', prototypes=4),
        slots=dict(type='densecl.InfoNCE', queue=0, batch='units', mean='counted'),
    ),
    projector=dict(type='densecl.SlotProjector', channels=(CHANNELS, DIM), slots=4),
)
EACH = [(('cells', 0), ('cells', 1)), (('slots', 0), ('slots', 1))]


@MODELS.register_module(force=True)
class Recording(nn.Linear):
    """A linear layer on (N, C) that remembers how many rows each pass had."""

    def __init__(self, width: int) -> None:
        super().__init__(width, width)
        self.seen = []

    def forward(self, x):
        self.seen.append(len(x))
        return super().forward(x)


def image_head(objective='densecl.Cosine', **kwargs):
    return build('densecl.Image', objective, 'densecl.SameRow', **kwargs)


def cross_entropy(query, key, negatives):
    """Cross-entropy over [positive, negatives] with the positive in place 0, and how often it wins."""
    query, key = F.normalize(query, dim=1), F.normalize(key, dim=1)
    logits = torch.cat([(query * key).sum(1, keepdim=True), query @ negatives.T], 1) / 0.2
    first = torch.zeros(len(query), dtype=torch.int64)
    return F.cross_entropy(logits, first), (logits.argmax(1) == 0).double().mean()


# --- pairs --------------------------------------------------------------------------------------------------


def test_the_loss_is_the_mean_of_its_pairs_and_so_are_diagnostics():
    head, views, levels = build(*CELLS, projector=CONV, pairs=BOTH), make_views(), maps()
    both = score(head, levels, views)
    singles = []
    for pair in BOTH:
        alone = build(*CELLS, projector=CONV, pairs=(pair,))
        alone.load_state_dict(head.state_dict())
        singles.append(score(alone, levels, views))
    torch.testing.assert_close(both.loss, (singles[0].loss + singles[1].loss) / 2)
    assert set(both.log) == {'pos_sim', 'matched'}
    for name, value in both.log.items():
        torch.testing.assert_close(value, (singles[0].log[name] + singles[1].log[name]) / 2)
        assert not value.requires_grad


def test_weights_are_a_sum_and_named_pairs_have_their_own_diagnostics():
    pairs = [dict(query=0, key=1, weight=3, name='there'), dict(query=1, key=0, weight=0.5, name='back')]
    head, views, levels = build(*CELLS, projector=CONV, pairs=pairs), make_views(), maps()
    views.boxes[1][0] += 1000  # no overlap in the first image
    found = score(head, levels, views)
    torch.testing.assert_close(found.loss, 3 * found.log['there'] + 0.5 * found.log['back'])
    assert found.log['there'] != found.log['back']
    names = {f'{what}_{name}' for what in ('pos_sim', 'matched') for name in ('there', 'back')}
    assert set(found.log) == {'there', 'back'} | names
    rule = head.rules[None][0]
    queries = head.read(Fixed(*levels), head.projector, views, {0, 1})
    share = rule(queries[0], queries[1], Batch.of(views)).found().float().mean()
    assert 0 < share < 1 and found.log['matched_there'] == share


def test_the_losses_of_several_rules_add_up():
    rules = ['densecl.ByLocation', 'densecl.MostSimilar']
    views, levels = make_views(), maps()
    head = build('densecl.Cells', 'densecl.Cosine', rules, projector=CONV)
    total = 0
    for rule in rules:
        alone = build('densecl.Cells', 'densecl.Cosine', rule, projector=CONV)
        alone.load_state_dict(head.state_dict())
        total = total + score(alone, levels, views).loss
    torch.testing.assert_close(score(head, levels, views).loss, total)


def test_every_crop_against_the_first_two():
    head, views, levels = image_head(projector=MLP, pairs='crops'), make_views(count=4), maps(4)
    z = [F.normalize(head.projector(x.mean((2, 3))), dim=1) for x in levels]
    pairs = [(q, k) for q in range(4) for k in range(2) if q != k]
    want = -sum((z[q] * z[k]).sum(1).mean() for q, k in pairs) / 6
    torch.testing.assert_close(score(head, levels, views).loss, want)
    assert head.needed(4) == {'online': {0, 1, 2, 3}, 'target': {0, 1}}
    with pytest.raises(ValueError, match="pairs='crops' needs at least 2 views, the pipeline makes 1"):
        head.needed(1)


def test_missing_views_are_named():
    head = image_head(pairs=((0, 2), (1, 0)))
    assert head.needed(3) == {'online': {0, 1}, 'target': {0, 2}}
    with pytest.raises(ValueError, match='pairs need 3 views, the pipeline makes 2; add views'):
        head.needed(2)


def test_an_objective_without_keys_asks_for_none():
    head = image_head('densecl.LabelCrossEntropy', projector=MLP, pairs=BOTH)
    assert head.needed(2) == {'online': {0, 1}, 'target': set()}
    views, levels = make_views(labels=torch.tensor([0, 1, 2])), maps()
    found = score(head, levels, views, target=head.projector)
    want = sum(F.cross_entropy(head.projector(x.mean((2, 3))), views.labels) for x in levels) / 2
    torch.testing.assert_close(found.loss, want)
    assert found.keys == {}


# --- passes and gradients -----------------------------------------------------------------------------------


@pytest.mark.parametrize('joint', [False, True])
def test_a_view_is_projected_and_predicted_once_whatever_the_pairs(joint):
    layer = dict(type='Recording', width=CHANNELS)
    head = image_head(projector=layer, predictor=layer, pairs=((0, 1), (1, 0), (2, 1)))
    views, levels = make_views(count=3), maps(3)
    branch = Fixed(*levels, joint=joint)
    result = head.loss(branch, branch, views, Batch.of(views), head.projector)
    # Predictions are never joined: each view has batch statistics of its own.
    assert head.projector.seen == ([9] if joint else [3, 3, 3]) and head.predictor.seen == [3, 3, 3]
    z = [head.projector(x.mean((2, 3))) for x in levels]
    cosine = [F.cosine_similarity(head.predictor(z[q]), z[k]).mean() for q, k in ((0, 1), (1, 0), (2, 1))]
    torch.testing.assert_close(result.loss, -sum(cosine) / 3)


@pytest.mark.parametrize('target', ['shared', 'stopped', 'momentum'])
def test_where_gradients_end(target):
    head = image_head(projector=MLP, stop_gradient=target == 'stopped')
    views, levels = make_views(), maps()
    momentum = copy.deepcopy(head.projector).requires_grad_(False) if target == 'momentum' else None
    result = score(head, levels, views, momentum)
    found = torch.autograd.grad(result.loss, levels, allow_unused=True)
    z = [head.projector(x.mean((2, 3))) for x in levels]
    key = z[1] if target == 'shared' else z[1].detach()
    want = torch.autograd.grad(-F.cosine_similarity(z[0], key).mean(), levels, allow_unused=True)
    torch.testing.assert_close(found[0], want[0])
    assert found[0].abs().max() > 0
    if target == 'shared':
        torch.testing.assert_close(found[1], want[1])
    else:
        assert found[1] is None or not found[1].any()
    assert result.keys[1].vectors.requires_grad == (target == 'shared')


def test_the_target_is_read_without_gradient_whatever_the_caller_s_mode():
    head, views, levels = image_head(projector=MLP), make_views(), maps()
    sets = head.read(Fixed(*levels, gradient=False), head.projector, views, {0})
    assert not sets[0].vectors.requires_grad
    with torch.no_grad():
        online = Fixed(*levels)
    assert not head.read(online, head.projector, views, {0})[0].vectors.requires_grad
    assert head.read(Fixed(*levels), head.projector, views, {0})[0].vectors.requires_grad


def chosen_alone(predictor, query, match):
    """The rows with an answer, chosen by number and predicted by themselves."""
    rows, found = query.vectors.flatten(0, 1), match.found().flatten()
    predictions = predictor(rows[found])
    out = predictions.new_zeros(len(rows), predictions.shape[1])
    out[found] = predictions
    return out.unflatten(0, query.vectors.shape[:2])


@pytest.mark.parametrize('last_norm', [False, 'plain'])
def test_late_predictions_are_those_of_rows_with_an_answer_alone(last_norm):
    """Values, gradients and running statistics; the last of four images has no answer."""
    mlp = dict(channels=(4, 6, 5), norm=True, bias=True, activation='GELU', last_norm=last_norm)
    one = MODELS.build(dict(type='densecl.MLP', **mlp)).double()
    other = copy.deepcopy(one)
    mask = torch.rand(4, 7, 3) < 0.2
    mask[3] = False
    match = Match(mask=mask)
    assert 4 < match.found().sum() < 18
    results = []
    for predictor, predict in ((one, lambda *x: predict_matched(*x).predicted), (other, chosen_alone)):
        rows = torch.randn(4, 7, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        found = predict(predictor, Units(rows.requires_grad_()), match)
        leaves = (rows, *predictor.parameters())
        gradients = torch.autograd.grad((found * torch.arange(1, 6).sqrt()).sin().sum(), leaves)
        results.append([found, gradients, predictor.state_dict()])
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-13)
    assert not results[0][0][~match.found()].any() and results[0][1][0].abs().max() > 1e-3


@pytest.mark.parametrize('answers', [0, 1])
def test_late_predictions_of_too_few_rows_for_batch_norm(answers):
    predictor = MODELS.build(dict(type='densecl.MLP', channels=(4, 6, 5), norm=True, activation='GELU'))
    before = copy.deepcopy(predictor.state_dict())
    mask = torch.zeros(2, 3, 1, dtype=torch.bool)
    mask[1, 0] = answers == 1
    rows = torch.randn(2, 3, 4, requires_grad=True)
    found = predict_matched(predictor, Units(rows), Match(mask=mask)).predicted
    norm, last = predictor[1], predictor[3]
    torch.testing.assert_close(found, mask * last(F.gelu(norm.bias)))  # a single row is its own mean
    found.square().sum().backward()
    assert not rows.grad.any()
    assert all(torch.equal(value, before[name]) for name, value in predictor.state_dict().items())


# --- memory -------------------------------------------------------------------------------------------------


def test_no_pair_meets_keys_of_its_own_batch_in_the_queue():
    """The second pair's positives would be among its negatives, were keys queued pair by pair."""
    head, views, levels = image_head(QUEUE, projector=MLP, pairs=BOTH), make_views(), maps()
    target = image_head(QUEUE, projector=MLP).projector
    before = head.objective.queue.keys.clone()
    result = step(head, levels, views, target)
    pooled = [x.mean((2, 3)) for x in levels]
    terms = [cross_entropy(head.projector(pooled[q]), target(pooled[k]), before) for q, k in BOTH]
    torch.testing.assert_close(result.loss, (terms[0][0] + terms[1][0]) / 2)
    torch.testing.assert_close(result.log['top1'], (terms[0][1] + terms[1][1]) / 2, check_dtype=False)
    keys = [F.normalize(target(x), dim=1) for x in pooled]
    torch.testing.assert_close(head.objective.queue.keys, torch.cat([keys[1], keys[0], before[6:]]))
    assert head.objective.queue.images.tolist() == [0, 1, 2, 0, 1, 2, -1, -1, -1]


@pytest.mark.parametrize(
    ('pairs', 'order'), [(((0, 1), (2, 1)), [1]), (((0, 2), (1, 0), (0, 1), (1, 2)), [2, 0, 1])]
)
@pytest.mark.parametrize('shared', [True, False])
def test_each_key_view_is_remembered_once_in_order_of_first_use(pairs, order, shared):
    head, views, levels = image_head(QUEUE, projector=MLP, pairs=pairs), make_views(count=3), maps(3)
    before = head.objective.queue.keys.clone()
    step(head, levels, views, None if shared else head.projector)
    keys = torch.cat([F.normalize(head.projector(levels[v].mean((2, 3))), dim=1) for v in order])
    torch.testing.assert_close(head.objective.queue.keys, torch.cat([keys, before[len(keys) :]]))
    assert head.objective.queue.enqueued == len(keys)


def test_the_query_s_own_keys_are_not_remembered():
    """DetCon's objective reads them too, as candidates."""
    objective = dict(type='densecl.InfoNCE', queue=9, dim=DIM, batch='units+own')
    head = build('densecl.Masks', objective, 'densecl.SameId', projector=MLP)
    assert head.needed(2) == {'online': {0}, 'target': {0, 1}}
    result = step(head, maps(), make_views(), head.projector)
    assert set(result.keys) == {1} and head.objective.queue.enqueued == 3


def test_each_kind_remembers_its_own():
    head, levels, views = build(**GROUPS, pairs=EACH), maps(), make_views()
    seen = {}
    for kind, objective in head.objective.items():
        objective.remember = lambda keys, batch, kind=kind: seen.update({kind: keys})
    result = step(head, levels, views, head.projector)
    assert seen == {'cells': [result.keys['cells', 1]], 'slots': [result.keys['slots', 1]]}
    assert head.queues() == {} and list(image_head(QUEUE).queues()) == ['']


def test_queues_of_kinds():
    objective = dict(cells=dict(type='densecl.SelfDistillation', prototypes=4), slots=dict(QUEUE, queue=5))
    head = build(**dict(GROUPS, objective=objective), pairs=EACH)
    assert {kind: len(queue) for kind, queue in head.queues().items()} == {'slots': 5}


# --- support, watching, weight ------------------------------------------------------------------------------


def test_watched_rows_are_spread_copies():
    rows = torch.arange(600.0).view(60, 10, 1).requires_grad_()
    valid = torch.arange(600).view(60, 10) % 8 == 0
    found = watched({0: Units(rows, valid=valid), 1: Units(rows * 2)})
    assert list(found) == ['']  # the first set of a kind
    vectors, there = found['']
    assert len(vectors) == len(there) == WATCHED and not vectors.requires_grad
    assert torch.equal(vectors[:, 0], torch.arange(0, 4 * WATCHED, 4.0))
    assert torch.equal(there, torch.arange(0, 4 * WATCHED, 4) % 8 == 0)
    assert vectors.data_ptr() != rows.data_ptr()
    embeddings = torch.randn(2, 1, 5)
    few = watched({('cells', 0): Units(rows[:2, :1], embeddings=embeddings), ('slots', 1): Units(rows[:2])})
    assert list(few) == ['cells', 'slots'] and few['cells'][1] is None
    assert torch.equal(few['cells'][0], embeddings[:, 0])


def test_weight_is_0_while_the_head_warms_up():
    head = image_head(loss_weight=0.5, warmup_steps=10)
    assert [head.weight(step) for step in (0, 9, 10, 1000)] == [0, 0, 0.5, 0.5]


def test_matched_is_the_share_of_queries_with_an_answer():
    views, levels = make_views(), maps()
    head = build(dict(type='densecl.Boxes', bins=1), 'densecl.Cosine', 'densecl.SameId')
    assert score(head, levels, views).log['matched'] == pytest.approx(11 / 12)  # a box is not there
    assert 'matched' not in score(image_head(), levels, views).log
    apart = replace(views, boxes=[views.boxes[0], views.boxes[0] + 1000])
    result = score(build(*CELLS), levels, apart)
    assert result.log['matched'] == 0 and result.loss == 0
    assert levels[0].shape[2:] == (GRID, GRID)


@pytest.mark.parametrize(
    ('fields', 'kinds'),
    [
        (dict(units='densecl.Image', objective=QUEUE, projector=MLP), ['']),
        (dict(GROUPS, pairs=EACH), ['slots']),
        (dict(target='start'), []),
        (dict(objective=dict(type='densecl.LabelCrossEntropy')), []),
        (dict(objective=dict(type='densecl.Sum', objectives=[dict(type='densecl.KoLeo')])), []),
    ],
    ids=['queue', 'prototypes', 'anchor', 'labels', 'no keys'],
)
def test_which_units_may_collapse(fields, kinds):
    assert build(**fields).may_collapse() == kinds


# --- parts of one's own -------------------------------------------------------------------------------------


class Saying(Objective):
    """Returns what it is told to, for ``mean`` of the queries."""

    def __init__(self, what) -> None:
        super().__init__()
        self.what = what

    def score(self, comparison):
        return self.what(comparison.query.vectors.mean())


def saying(what):
    head = image_head()
    head.objective = Saying(what)
    return score(head, maps(), make_views())


@pytest.mark.parametrize(
    ('what', 'said'),
    [
        (lambda x: x, 'Saying.score must return the loss and a dict of values for the log, got Tensor'),
        (lambda x: (x[None], {}), r'Saying.score must return a scalar tensor as its loss, got \(1,\)'),
        (lambda x: (1.0, {}), 'as its loss, got float'),
    ],
)
def test_what_is_no_loss_is_refused_by_the_name_of_the_objective(what, said):
    with pytest.raises(TypeError, match=said):
        saying(what)


def test_values_for_the_log_are_not_minimised():
    with pytest.raises(ValueError, match="the log has a value 'own_loss': what holds 'loss' is minimised"):
        saying(lambda x: (x, {'own_loss': x}))
    found = saying(lambda x: (x, {'own': x}))
    assert found.loss.requires_grad and not found.log['own'].requires_grad


class Weighted(Rule):
    """The same row, with a weight of 0."""

    def forward(self, query, key, batch):
        rows = query.vectors.shape[:2]
        return Match(torch.zeros(rows, dtype=torch.int64), weight=torch.zeros(rows))


def test_weights_that_an_objective_ignores_are_refused():
    head = image_head('densecl.VICReg')
    head.rules[None][0] = Weighted()
    with pytest.raises(ValueError, match='matching=Weighted weights units, which objective=VICReg does not'):
        score(head, maps(), make_views())
    head = image_head()
    head.rules[None][0] = Weighted()
    assert score(head, maps(), make_views()).loss == 0
