"""InfoNCE's choices against loops over queries and their negatives, in float64: values and gradients."""

import pytest
import torch
import torch.nn.functional as F
from oracles import contrast as forms
from oracles.comparisons import compare, step

from densecl.models.losses import InfoNCE, kernel
from densecl.schedule import Clock
from densecl.structures import Comparison

IMAGES, WIDTH, CELLS, QUEUE = 5, 4, 3, 7
LABELS = torch.tensor([0, 1, 0, -1, 0])


class Batch:
    """Rows of one image each, or of several cells an image as dense heads have them."""

    def __init__(self, rows: str, extra: int = 0, alike: bool = False) -> None:
        generator = torch.Generator().manual_seed(2)
        count = IMAGES * CELLS if rows == 'dense' else IMAGES

        def leaf(n):
            x = torch.randn(n, WIDTH + extra, generator=generator, dtype=torch.float64)
            return x.requires_grad_()

        self.leaves = [leaf(count), leaf(count)]
        self.query, self.positive = self.leaves
        self.rows = torch.arange(IMAGES).repeat_interleave(count // IMAGES)
        self.keys, self.queries = self.positive, self.query
        if rows == 'dense':
            self.keys, self.queries = leaf(IMAGES), leaf(IMAGES)
            self.leaves += [self.keys, self.queries]
        self.extra = extra
        indices = torch.arange(IMAGES) + 10
        c = compare(self.query, self.positive, indices, self.keys, self.queries, labels=LABELS)
        self.comparison = forms.answers_alike(c) if alike else c

    def reference(self, objective, form) -> torch.Tensor:
        """Mean of ``form(row)`` over the queries; the pool of candidates is written out."""
        vectors, images = [], []
        if objective.queue is not None:
            vectors.append(objective.queue.keys)
            images.append(torch.full((QUEUE,), -1))
        if objective.batch is not None:
            vectors.append(self.keys[:, self.extra :])
            images.append(torch.arange(IMAGES))
        if objective.batch == 'views':
            vectors.append(self.queries[:, self.extra :])
            images.append(torch.arange(IMAGES))
        pool, images = F.normalize(torch.cat(vectors), dim=1), torch.cat(images)
        labels = torch.where(images < 0, -1, LABELS[images])
        query = F.normalize(self.query[:, self.extra :], dim=1)
        cosine = (query * F.normalize(self.positive[:, self.extra :], dim=1)).sum(1)
        losses = []
        for i, image in enumerate(self.rows):
            other = images != image
            mates = (labels == LABELS[image]) & (labels >= 0)
            extra = None if not self.extra else self.query[i, 0]
            row = forms.Row(i, pool[other] @ query[i], cosine[i], mates[other], cosine, extra)
            losses.append(form(row))
        return torch.stack(losses).mean()


UNCERTAIN = dict(type='densecl.UncertaintyTemperature', value=0.2)
ADAPTIVE = dict(type='densecl.AlignmentAdaptiveTemperature', value=0.2, alignment=0.1)
CASES = {
    'plain': (dict(), forms.plain),
    'debiased': (dict(negatives=dict(type='densecl.Debiased', prior=0.1)), forms.debiased),
    'debiased_floor': (
        dict(temperature=1.0, negatives=[dict(type='densecl.Debiased', prior=0.6)]),
        lambda row: forms.debiased(row, 1.0, 0.6),
    ),
    'hard': (
        dict(negatives=dict(type='densecl.Hard', prior=0.05, concentration=0.7)),
        lambda row: forms.debiased(row, prior=0.05, beta=0.7),
    ),
    'decoupled': (dict(decoupled=True), forms.decoupled),
    'decoupled_weighted': (
        dict(decoupled=True, sigma=0.5),
        lambda row: forms.decoupled(row, sigma=0.5),
    ),
    'decoupled_detached': (
        dict(decoupled=True, sigma=0.5, detach_weights=True),
        lambda row: forms.decoupled(row, sigma=0.5, detach=True),
    ),
    'macl': (dict(temperature=ADAPTIVE, reweighted=True), forms.macl),
    'uncertain': (dict(temperature=UNCERTAIN), forms.uncertain),
    'uncertain_debiased': (
        dict(temperature=UNCERTAIN, negatives=dict(type='densecl.Debiased', prior=0.1)),
        lambda row: forms.debiased(row, 0.2 / torch.sigmoid(row.extra)),
    ),
    'temperature_free': (dict(temperature=dict(type='densecl.TemperatureFree')), forms.temperature_free),
    'scheduled': (
        dict(temperature=dict(start=0.5, end=0.1, shape='linear')),
        lambda row: forms.plain(row, 0.4),
    ),
    'times_temperature': (dict(times_temperature=True), lambda row: 0.3 * forms.plain(row)),
    'alike_out': (dict(form='out'), forms.labelled('out')),
    'alike_in': (dict(form='in'), forms.labelled('in')),
    'alike_in-mean': (dict(form='in-mean'), forms.labelled('in-mean')),
    'alike_apart': (dict(form='apart'), forms.labelled('apart')),
}
CANDIDATES = {
    'keys': dict(queue=0, batch='keys'),
    'views': dict(queue=0, batch='views'),
    'queue': dict(queue=QUEUE, dim=WIDTH),
    'queue_and_views': dict(queue=QUEUE, dim=WIDTH, batch='views'),
}


def build(**kwargs) -> InfoNCE:
    objective = InfoNCE(**{'temperature': 0.3, **kwargs}).double().train()
    for module in objective.modules():
        if hasattr(module, 'clock'):
            module.clock = Clock(step=25, total=100, epoch=10)
    if objective.queue is not None:  # of unit length in float64 as well
        objective.queue.keys.copy_(F.normalize(objective.queue.keys, dim=1))
    return objective


def assert_equal_gradients(got, want, leaves, **tolerance):
    mine = torch.autograd.grad(got, leaves, allow_unused=True)
    theirs = torch.autograd.grad(want, leaves, allow_unused=True)
    zero = torch.zeros((), dtype=torch.float64)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(zero if a is None else a, zero if b is None else b, **tolerance)
    assert any(a is not None and a.norm() > 1e-3 for a in mine)


@pytest.mark.parametrize('rows', ['image', 'dense'])
@pytest.mark.parametrize('candidates', CANDIDATES)
@pytest.mark.parametrize('case', CASES)
def test_value_and_gradients(monkeypatch, case, candidates, rows):
    monkeypatch.setitem(kernel.TILE, 'cpu', 4 * IMAGES)  # several tiles
    choices, form = CASES[case]
    if candidates == 'queue' and 'alike' in case:
        pytest.skip('a queue has no labels')
    batch = Batch(rows, int('uncertain' in case), 'alike' in case)
    objective = build(**CANDIDATES[candidates], **choices)
    loss, diagnostics = objective.score(batch.comparison)
    expected = batch.reference(objective, form)
    tolerance = dict(rtol=1e-7, atol=1e-9) if case != 'macl' else dict(rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(loss, expected, **tolerance)
    assert_equal_gradients(loss, expected, batch.leaves, **tolerance)
    assert not any(value.requires_grad for value in diagnostics.values())


@pytest.mark.parametrize('extra', [0, 1])
def test_the_batch_enters_the_queue_only_when_all_pairs_are_scored(extra):
    """Also with two pairs a step no image meets its own key as a negative."""
    temperature = UNCERTAIN if extra else 0.3
    objective = build(queue=QUEUE, dim=WIDTH, temperature=temperature)
    first, second = Batch('dense', extra), Batch('image', extra)
    state = {name: value.clone() for name, value in objective.state_dict().items()}
    alone = [objective.score(b.comparison)[0] for b in (first, second, second)]
    assert alone[1] == alone[2]
    for name, value in objective.state_dict().items():
        assert torch.equal(value, state[name])
    both = [first.comparison.key, second.comparison.key]
    objective.remember(both, first.comparison.batch)
    assert int(objective.queue.enqueued) == 2 * IMAGES
    entered = [F.normalize(b.keys.detach()[:, extra:], dim=1) for b in (first, second)]
    entered = torch.cat(entered)
    torch.testing.assert_close(objective.queue.keys[:3], entered[QUEUE:])  # the oldest went
    torch.testing.assert_close(objective.queue.keys[3:], entered[3:QUEUE])
    assert objective.queue.images.tolist() == [12, 13, 14, 13, 14, 10, 11]


def test_a_scored_batch_leaves_nothing_behind_in_evaluation():
    objective = build(queue=QUEUE, dim=WIDTH).eval()
    step(objective, Batch('image').comparison)
    assert int(objective.queue.enqueued) == 0


@pytest.mark.parametrize('candidates', CANDIDATES)
def test_learned_temperature(candidates):
    batch = Batch('image')
    kind = dict(type='densecl.LearnedTemperature', start=0.25)
    objective = build(**CANDIDATES[candidates], temperature=kind)
    log_scale = objective.temperature.log_scale
    expected = batch.reference(objective, lambda row: forms.plain(row, (-log_scale).exp()))
    loss, _ = objective.score(batch.comparison)
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-9)
    assert_equal_gradients(loss, expected, [*batch.leaves, log_scale], rtol=0, atol=1e-9)


def test_learned_temperature_stops_at_the_limit_but_comes_back():
    objective = build(**CANDIDATES['keys'], temperature=dict(type='densecl.LearnedTemperature', start=0.02))
    with torch.no_grad():
        objective.temperature.log_scale.fill_(9.0)
    batch = Batch('image')
    loss, _ = objective.score(batch.comparison)
    torch.testing.assert_close(loss, batch.reference(objective, lambda row: forms.plain(row, 0.01)))
    (gradient,) = torch.autograd.grad(loss, [objective.temperature.log_scale])
    assert gradient != 0


@pytest.mark.parametrize(('alpha', 'alignment'), [(1.1, 0.0), (2.0, 0.0), (-1.5, 0.0), (0.9, 0.5)])
def test_an_adaptive_temperature_that_can_turn_negative_is_refused(alpha, alignment):
    kind = dict(type='densecl.AlignmentAdaptiveTemperature', alpha=alpha, alignment=alignment)
    with pytest.raises(ValueError, match='bring alpha nearer to 0'):
        build(**CANDIDATES['keys'], temperature=kind)


@pytest.mark.parametrize(('alpha', 'temperature'), [(0.9, 0.02), (1.0, 0.002)])
def test_adaptive_temperature_where_the_mean_is_negative(alpha, temperature):
    """Every answer is opposite; with the official alpha of 1 the factor would be 0, and is kept at 0.01."""
    kind = dict(type='densecl.AlignmentAdaptiveTemperature', value=0.2, alpha=alpha)
    x = torch.randn(4, WIDTH).double()
    loss, found = build(**CANDIDATES['keys'], temperature=kind).score(compare(x, -x))
    constant, _ = build(**CANDIDATES['keys'], temperature=temperature).score(compare(x, -x))
    torch.testing.assert_close(loss, constant)
    assert float(found['pos_sim']) == pytest.approx(-1)


def test_top1_and_pos_sim():
    batch = Batch('dense')
    objective = build(**CANDIDATES['keys'])
    _, diagnostics = objective.score(batch.comparison)
    beats = batch.reference(objective, lambda row: (row.positive > row.negatives.max()).double())
    assert 0 < float(beats) < 1
    assert float(diagnostics['top1']) == pytest.approx(float(beats))
    cosine = F.cosine_similarity(batch.query, batch.positive).mean().detach()
    assert float(diagnostics['pos_sim']) == pytest.approx(float(cosine))


def test_predictions_stand_on_the_query_s_side():
    """The queries' predictions, in their own place and pooled among the candidates."""
    batch = Batch('dense')
    objective = build(**CANDIDATES['views'])
    want, _ = objective.score(batch.comparison)
    query = batch.comparison.query
    query.predicted, query.pooled_predicted = query.vectors, query.pooled
    query.vectors, query.pooled = torch.randn_like(query.vectors), torch.randn_like(query.pooled)
    got, _ = objective.score(batch.comparison)
    torch.testing.assert_close(got, want, rtol=0, atol=0)


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (
            dict(temperature=dict(type='densecl.TemperatureFree'), times_temperature=True),
            'times_temperature needs a temperature',
        ),
        (dict(queue=0), 'no candidates; set queue > 0 or batch'),
        (dict(batch='images'), "batch must be None, 'keys', 'views'.*got 'images'"),
        (dict(form='sum'), "form must be 'out', 'in', 'in-mean' or 'apart', got 'sum'"),
        (dict(mean='all'), "mean must be 'rows', 'counted', 'images' or 'weights', got 'all'"),
        (dict(sigma=0.5), 'sigma needs decoupled=True'),
        (dict(decoupled=True, form='apart'), "a form other than 'apart'"),
        (dict(negatives=dict(type='densecl.Hard', concentration=-0.5)), 'must be at least 0, got -0.5'),
        (dict(decoupled=True, reweighted=True), 'reweighted needs the share of the answer'),
        (dict(decoupled=True, detach_weights=True), 'detach_weights=True does nothing without sigma'),
        (dict(overlapping=True), "overlapping=True does nothing without batch='others'"),
        (dict(temperature=0.0), 'temperature must be positive, got 0'),
        (dict(negatives=[dict(type='densecl.Hard'), dict(type='densecl.Debiased')]), 'at most one weighting'),
        (dict(negatives=dict(type='densecl.LearnedTemperature')), 'got LearnedTemperature'),
    ],
)
def test_errors(kwargs, message):
    with pytest.raises(ValueError, match=message):
        build(**kwargs)


def test_a_queue_of_another_width_is_told():
    objective = InfoNCE(queue=8, dim=5)
    with pytest.raises(ValueError, match='dim=5 is the width of the queue, but the projector gives 4'):
        objective.score(Comparison.of_rows(torch.randn(3, 4), torch.randn(3, 4)))
