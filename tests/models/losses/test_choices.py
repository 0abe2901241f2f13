"""InfoNCE's choices against loops over queries and their negatives, in float64: values and gradients."""

import pytest
import torch
import torch.nn.functional as F

from densecl.models.losses import InfoNCE, Samples, online_softmax
from densecl.schedule import Clock

IMAGES, WIDTH, CELLS, QUEUE = 5, 4, 3, 7
LABELS = torch.tensor([0, 1, 0, -1, 0])


class Batch:
    """Rows of one image each, or of several cells an image as dense heads have them."""

    def __init__(self, rows: str, extra: int = 0) -> None:
        generator = torch.Generator().manual_seed(2)
        count = IMAGES * CELLS if rows == 'dense' else IMAGES

        def leaf(n):
            x = torch.randn(n, WIDTH + extra, generator=generator, dtype=torch.float64)
            return x.requires_grad_()

        self.leaves = [leaf(count), leaf(count)]
        self.query, self.positive = self.leaves
        self.rows = torch.arange(count)
        self.keys, self.queries = self.positive, self.query
        self.samples = Samples(labels=LABELS, indices=torch.arange(IMAGES) + 10)
        if rows == 'dense':
            self.rows = torch.arange(IMAGES).repeat_interleave(CELLS)
            self.keys, self.queries = leaf(IMAGES), leaf(IMAGES)
            self.leaves += [self.keys, self.queries]
            self.samples.rows, self.samples.queries = self.rows, self.queries
        self.extra = extra

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
            losses.append(
                form(
                    Row(
                        i,
                        pool[other] @ query[i],
                        cosine[i],
                        mates[other],
                        cosine,
                        None if not self.extra else self.query[i, 0],
                    )
                )
            )
        return torch.stack(losses).mean()


class Row:
    """A query: cosines with its negatives and its positive, which negatives share its label, and so on."""

    def __init__(self, index, negatives, positive, mates, positives, extra) -> None:
        self.index, self.negatives, self.positive, self.mates = index, negatives, positive, mates
        self.positives, self.extra = positives, extra


def plain(row, t=0.3):
    p, n = (row.positive / t).exp(), (row.negatives / t).exp().sum()
    return -torch.log(p / (p + n))


def debiased(row, t=0.3, prior=0.1, beta=0.0):
    s, m = row.negatives, len(row.negatives)
    p = (row.positive / t).exp()
    weights = (beta * s / t).exp()
    n = (weights * (s / t).exp()).sum() / weights.mean()
    n = torch.clamp((n - prior * m * p) / (1 - prior), min=m * (-1 / torch.as_tensor(t)).exp())
    return -torch.log(p / (p + n))


def decoupled(row, t=0.3, sigma=None, detach=False):
    weight = 1.0
    if sigma is not None:
        positives = row.positives.detach() if detach else row.positives
        weight = 2 - len(positives) * (positives / sigma).softmax(0)[row.index]
    return -weight * row.positive / t + (row.negatives / t).exp().sum().log()


def macl(row):
    t = 0.2 * (1 + 0.5 * (row.positives.detach().mean() - 0.1))
    loss = plain(row, t)
    return loss / (1 - (-loss.detach()).exp())


def uncertain(row):
    return plain(row, 0.2 / torch.sigmoid(row.extra))


def temperature_free(row):
    p = (1 + row.positive) / (1 - row.positive)
    n = ((1 + row.negatives) / (1 - row.negatives)).sum()
    return -torch.log(p / (p + n))


def same_label(form):
    def loss(row, t=0.3):
        positives = torch.cat([row.positive[None], row.negatives[row.mates]]) / t
        everything = torch.cat([row.positive[None], row.negatives]) / t
        if form == 'out':
            return everything.exp().sum().log() - positives.mean()
        if form == 'in':
            return everything.exp().sum().log() - positives.exp().mean().log()
        n = (row.negatives[~row.mates] / t).exp().sum()
        return -(positives.exp() / (positives.exp() + n)).log().mean()

    return loss


CASES = {
    'plain': (dict(), plain),
    'debiased': (dict(negatives=dict(type='densecl.Debiased', prior=0.1)), debiased),
    'debiased_floor': (
        dict(temperature=1.0, negatives=dict(type='densecl.Debiased', prior=0.6)),
        lambda row: debiased(row, 1.0, 0.6),
    ),
    'hard': (
        dict(negatives=dict(type='densecl.Hard', prior=0.05, concentration=0.7)),
        lambda row: debiased(row, prior=0.05, beta=0.7),
    ),
    'decoupled': (dict(positives=dict(type='densecl.Decoupled')), decoupled),
    'decoupled_weighted': (
        dict(positives=dict(type='densecl.Decoupled', sigma=0.5)),
        lambda row: decoupled(row, sigma=0.5),
    ),
    'decoupled_detached': (
        dict(positives=dict(type='densecl.Decoupled', sigma=0.5, detach_weights=True)),
        lambda row: decoupled(row, sigma=0.5, detach=True),
    ),
    'macl': (
        dict(
            temperature=dict(
                type='densecl.AlignmentAdaptiveTemperature', value=0.2, alignment=0.1
            ),
            positives=dict(type='densecl.Reweighted'),
        ),
        macl,
    ),
    'uncertain': (
        dict(temperature=dict(type='densecl.UncertaintyTemperature', value=0.2)),
        uncertain,
    ),
    'uncertain_debiased': (
        dict(
            temperature=dict(type='densecl.UncertaintyTemperature', value=0.2),
            negatives=dict(type='densecl.Debiased', prior=0.1),
        ),
        lambda row: debiased(row, 0.2 / torch.sigmoid(row.extra)),
    ),
    'temperature_free': (dict(temperature=dict(type='densecl.TemperatureFree')), temperature_free),
    'scheduled': (
        dict(temperature=dict(start=0.5, end=0.1, shape='linear')),
        lambda row: plain(row, 0.4),
    ),
    'times_temperature': (dict(times_temperature=True), lambda row: 0.3 * plain(row)),
    'supcon_out': (dict(positives=dict(type='densecl.SameLabel', form='out')), same_label('out')),
    'supcon_in': (dict(positives=dict(type='densecl.SameLabel', form='in')), same_label('in')),
    'sincere': (
        dict(positives=dict(type='densecl.SameLabel', form='sincere')),
        same_label('sincere'),
    ),
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


@pytest.mark.parametrize('rows', ['image', 'dense'])
@pytest.mark.parametrize('candidates', CANDIDATES)
@pytest.mark.parametrize('case', CASES)
def test_value_and_gradients(monkeypatch, case, candidates, rows):
    monkeypatch.setitem(online_softmax.TILE, 'cpu', 4 * IMAGES)  # several tiles
    choices, form = CASES[case]
    if candidates == 'queue' and 'densecl.SameLabel' in str(choices):
        pytest.skip('a queue has no labels')
    extra = int('Uncertainty' in str(choices))
    batch = Batch(rows, extra)
    objective = build(**CANDIDATES[candidates], **choices)
    expected = batch.reference(objective, form)
    expected_gradients = torch.autograd.grad(expected, batch.leaves, allow_unused=True)
    keys = batch.keys if rows == 'dense' else None
    loss, diagnostics = objective(batch.query, batch.positive, keys, batch.samples)
    gradients = torch.autograd.grad(loss, batch.leaves, allow_unused=True)
    tolerance = dict(rtol=1e-7, atol=1e-9) if case != 'macl' else dict(rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(loss, expected, **tolerance)
    for mine, theirs in zip(gradients, expected_gradients, strict=True):
        zero = torch.zeros(())
        torch.testing.assert_close(
            zero if mine is None else mine,
            zero if theirs is None else theirs,
            **tolerance,
            check_dtype=False,
        )
    assert not any(value.requires_grad for value in diagnostics.values())
    if objective.queue is not None:  # the batch entered, after it was scored
        assert int(objective.queue.enqueued) == IMAGES
        entered = F.normalize(batch.keys.detach()[:, extra:], dim=1)
        torch.testing.assert_close(objective.queue.keys[:IMAGES], entered)
        assert objective.queue.images[:IMAGES].tolist() == [10, 11, 12, 13, 14]


@pytest.mark.parametrize('candidates', CANDIDATES)
def test_learned_temperature(candidates):
    batch = Batch('image')
    kind = dict(type='densecl.LearnedTemperature', start=0.25)
    objective = build(**CANDIDATES[candidates], temperature=kind)
    log_scale = objective.temperature.log_scale
    wanted = [*batch.leaves, log_scale]
    expected = batch.reference(objective, lambda row: plain(row, (-log_scale).exp()))
    expected_gradients = torch.autograd.grad(expected, wanted)
    loss, _ = objective(batch.query, batch.positive, samples=batch.samples)
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-9)
    for mine, theirs in zip(torch.autograd.grad(loss, wanted), expected_gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-9)


def test_learned_temperature_stops_at_the_limit_but_comes_back():
    objective = build(**CANDIDATES['keys'], temperature=dict(type='densecl.LearnedTemperature', start=0.02))
    with torch.no_grad():
        objective.temperature.log_scale.fill_(9.0)
    batch = Batch('image')
    loss, _ = objective(batch.query, batch.positive)
    torch.testing.assert_close(loss, batch.reference(objective, lambda row: plain(row, 0.01)))
    (gradient,) = torch.autograd.grad(loss, [objective.temperature.log_scale])
    assert gradient != 0


def test_top1_and_pos_sim():
    batch = Batch('image')
    _, diagnostics = build(**CANDIDATES['views'])(batch.query, batch.positive)
    beats = batch.reference(
        build(**CANDIDATES['views']), lambda row: (row.positive > row.negatives.max()).double()
    )
    assert float(diagnostics['top1']) == pytest.approx(float(beats))
    cosine = F.cosine_similarity(batch.query, batch.positive).mean().detach()
    assert float(diagnostics['pos_sim']) == pytest.approx(float(cosine))


def test_errors():
    with pytest.raises(ValueError, match='times_temperature needs a temperature'):
        build(temperature=dict(type='densecl.TemperatureFree'), times_temperature=True)
    with pytest.raises(ValueError, match='no negatives; set queue > 0 or batch'):
        build(queue=0)
    with pytest.raises(ValueError, match="batch must be None, 'keys' or 'views', got 'image'"):
        build(batch='image')
    objective = build(**CANDIDATES['queue'], positives=dict(type='densecl.SameLabel'))
    with pytest.raises(ValueError, match='SameLabel needs labels'):
        objective(Batch('image').query, Batch('image').positive)
