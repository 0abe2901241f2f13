"""InfoNCE among units: each source of candidates and each mean, against loops that list who meets whom."""

import pytest
import torch
import torch.nn.functional as F
from oracles.contrast import of_units

from densecl.models.losses import InfoNCE, kernel
from densecl.schedule import Clock
from densecl.structures import Batch, Comparison, Match, Place, Units

B, N, M, P, D, T = 3, 4, 5, 6, 4, 0.3
GENERATOR = torch.Generator()


def leaf(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=GENERATOR).requires_grad_()


def flags(*shape, share=0.5):
    return torch.rand(*shape, generator=GENERATOR) < share


def by_mask() -> Comparison:
    """Sets of answers: image 0 has none, and one unit of image 1 has all; some units are not there."""
    mask = flags(B, N, M, share=0.4)
    mask[0], mask[1, 0] = False, True
    valid = flags(B, M, share=0.8)
    key = Units(leaf(B, M, D), pooled=leaf(B, D), valid=valid)
    match = Match(mask=mask & valid[:, None], valid=flags(B, N, share=0.8))
    return Comparison(Units(leaf(B, N, D)), key, match, Batch(torch.arange(B), torch.arange(B)))


def by_index() -> Comparison:
    """One answer each, some queries do not count; boxes, and places of the key view beside the units."""
    corner = torch.rand(B, M, 2, generator=GENERATOR) * 8
    boxes = torch.cat([corner, corner + 4], -1)
    zeros = torch.zeros(B)
    place = Place(zeros, zeros, zeros, (16, 16), boxes=boxes)
    corner = torch.tensor([[x, y] for x in (0.0, 4.0, 8.0) for y in (0.0, 6.0)])
    others_boxes = torch.cat([corner, corner + 4], -1)
    key = Units(leaf(B, M, D), place=place, others=leaf(B, P, D), others_boxes=others_boxes)
    index = torch.randint(M, (B, N), generator=GENERATOR)
    valid = flags(B, N, share=0.7)
    return Comparison(Units(leaf(B, N, D)), key, Match(index=index, valid=valid), Batch(torch.arange(B)))


def by_id() -> Comparison:
    """Ids that repeat, as masks of objects have them."""
    ids = torch.randint(6, (2, B, N), generator=GENERATOR)
    repeats = (ids[0, :, :, None] == ids[0, :, None]).sum(2)
    query = Units(leaf(B, N, D), predicted=leaf(B, N, D), ids=ids[0])
    key, own = Units(leaf(B, N, D), ids=ids[1]), Units(leaf(B, N, D), ids=ids[0])
    match = Match(mask=ids[0, :, :, None] == ids[1, :, None], weight=1 / repeats.double())
    return Comparison(query, key, match, Batch(torch.arange(B)), own=own)


def by_slot() -> Comparison:
    """Units of one order, few of which are there in either view."""
    active = flags(2, B, M, share=0.6)
    active[:, 0, 0] = True
    query = Units(leaf(B, M, D), predicted=leaf(B, M, D), valid=active[0])
    key = Units(leaf(B, M, D), valid=active[1])
    index = torch.arange(M).expand(B, M)
    return Comparison(query, key, Match(index=index, valid=active[0] & active[1]), Batch(torch.arange(B)))


def cast(c: Comparison, dtype: torch.dtype) -> list[torch.Tensor]:
    """Round all vectors to half precision, give them this type, and return them."""
    found = []
    for units, name in ((c.query, 'predicted'), (c.key, 'vectors'), (c.key, 'others'), (c.own, 'vectors')):
        x = None if units is None else getattr(units, name)
        if name == 'predicted':
            x = c.query.compared
        if x is not None:
            found.append(x.detach().bfloat16().to(dtype).requires_grad_())
            setattr(units, name, found[-1])
    return found


def leaves_of(c: Comparison) -> list[torch.Tensor]:
    vectors = [c.query.compared, c.key.vectors, c.key.others]
    vectors += [] if c.own is None else [c.own.vectors]
    return [x for x in vectors if x is not None]


CASES = {
    'pixcontrast': (by_mask, dict(batch='image', form='in', mean='counted')),
    'rest, out': (by_mask, dict(batch='image', form='out')),
    'rest, mean inside': (by_mask, dict(batch='image', form='in-mean')),
    'rest, apart': (by_mask, dict(batch='image', form='apart', mean='images')),
    'rest of one answer': (by_index, dict(batch='image', mean='counted')),
    'resim': (by_index, dict(batch='others', mean='counted')),
    'resim, overlapping': (by_index, dict(batch='others', mean='counted', overlapping=True)),
    'detcon': (by_id, dict(batch='units+own')),
    'detcon, in': (by_id, dict(batch='units+own', form='in', mean='images')),
    'detcon, valid': (by_id, dict(batch='units+own', mean='counted')),
    'aligndet': (by_id, dict(batch='units+queries', form='apart', mean='weights')),
    'with queries': (by_id, dict(batch='units+queries', mean='counted')),
    'slotcon': (by_slot, dict(batch='units', mean='counted', times_temperature=True)),
    'slots, all': (by_slot, dict(batch='units')),
    'sets among units': (by_mask, dict(batch='units', form='out', mean='counted')),
}


@pytest.mark.parametrize('queue', [0, 7])
@pytest.mark.parametrize('seed', [0, 1])
@pytest.mark.parametrize('name', CASES)
def test_value_and_gradients(monkeypatch, name, seed, queue):
    monkeypatch.setitem(kernel.TILE, 'cpu', 40)  # several tiles
    GENERATOR.manual_seed(seed)
    make, options = CASES[name]
    c = make()
    if name.endswith('valid'):
        c.match.valid = flags(B, N)
    objective = InfoNCE(temperature=T, queue=queue, dim=D, **options).double()
    before = []
    if queue:
        objective.queue.keys.copy_(F.normalize(objective.queue.keys, dim=1))
        before = list(objective.queue.keys)
    loss, found = objective.score(c)
    form, mean = options.get('form', 'out'), options.get('mean', 'rows')
    want, count = of_units(c, options['batch'], T, form, mean, before, options.get('overlapping', False))
    want = want * (T if 'times_temperature' in options else 1)
    assert 0 < count < c.match.found().numel() or name == 'rest of one answer'
    torch.testing.assert_close(loss, want, rtol=1e-12, atol=1e-12)
    leaves = leaves_of(c)
    mine = torch.autograd.grad(loss, leaves, allow_unused=True, retain_graph=True)
    theirs = torch.autograd.grad(want, leaves, allow_unused=True)
    for got, expected in zip(mine, theirs, strict=True):
        if expected is not None:
            assert expected.norm() > 1e-3
            torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)
        assert got is None or got.isfinite().all()
    answers = c.match.answers(c.key.vectors.shape[1])
    cosine = torch.cosine_similarity(c.query.compared[:, :, None], c.key.vectors[:, None], dim=-1)
    counted = answers.any(-1)
    mean_cosine = (cosine * answers).sum(-1) / answers.sum(-1).clamp(min=1)
    torch.testing.assert_close(found['pos_sim'], mean_cosine[counted].mean().detach())


def test_setsim_s_other_cells_enter_nowhere():
    """With a queue alone: the answers of the own image, and the queue."""
    GENERATOR.manual_seed(3)
    c = by_mask()
    objective = InfoNCE(temperature=T, queue=7, dim=D, mean='images').double()
    objective.queue.keys.copy_(F.normalize(objective.queue.keys, dim=1))
    want, _ = of_units(c, None, T, 'out', 'images', list(objective.queue.keys))
    torch.testing.assert_close(objective.score(c)[0], want, rtol=1e-12, atol=0)


@pytest.mark.parametrize('name', CASES)
def test_nothing_counts(name):
    """Loss and gradients are 0, in half precision too, and diagnostics are finite."""
    GENERATOR.manual_seed(0)
    make, options = CASES[name]
    c = make()
    c.match.valid = torch.zeros(c.query.vectors.shape[:2], dtype=torch.bool)
    half = cast(c, torch.bfloat16)
    loss, found = InfoNCE(temperature=T, queue=0, **options).score(c)
    loss.backward()
    assert loss == 0 and all(x.isfinite() for x in found.values())
    assert all(x.grad is None or (x.grad == 0).all() for x in half)


@pytest.mark.parametrize('name', CASES)
def test_half_precision_with_a_vector_of_zeros(name):
    """Computed in float32, autocast or not; the zero vector has no gradient."""
    GENERATOR.manual_seed(0)
    make, options = CASES[name]
    c, exact = make(), None
    counted = c.match.found().nonzero()[0].tolist()
    with torch.no_grad():
        c.query.compared[counted[0], counted[1]] = 0
    for dtype in (torch.float64, torch.bfloat16):
        leaves = cast(c, dtype)
        with torch.autocast('cpu', torch.bfloat16):
            loss, _ = InfoNCE(temperature=T, queue=0, **options).score(c)
        loss.backward()
        assert all(x.grad is None or x.grad.isfinite().all() for x in leaves)
        assert (leaves[0].grad[counted[0], counted[1]] == 0).all() and (leaves[0].grad != 0).any()
        exact = loss if exact is None else exact
    assert loss.dtype == torch.float32 and exact.dtype == torch.float64
    torch.testing.assert_close(loss.double(), exact, rtol=1e-5, atol=1e-6)


def test_an_image_alone_has_nothing_to_be_told_from():
    """No candidate at all: 0, and no NaN."""
    c = by_index()
    c = Comparison(Units(leaf(1, 2, D)), Units(leaf(1, 2, D)), Match(index=torch.tensor([[1, 0]])), c.batch)
    c.batch = Batch(torch.arange(1))
    c.key.pooled, c.query.pooled = c.key.vectors.mean(1), c.query.vectors.mean(1)
    for batch in ('keys', 'views'):
        for kwargs in (dict(), dict(decoupled=True, sigma=0.5), dict(negatives=dict(type='densecl.Hard'))):
            loss, found = InfoNCE(queue=0, batch=batch, **kwargs).score(c)
            (gradient,) = torch.autograd.grad(loss, c.query.vectors)
            assert loss == 0 and (gradient == 0).all() and found['top1'] == 1


def test_top1_of_places():
    """Windows of three images; the negative of the third is nearer than its positive; a tie is no win."""
    query = torch.eye(3, dtype=torch.float64)[:, None]
    key = query.clone()
    key[2, 0] = torch.tensor([0.0, 0.9, 1.0])
    others = torch.tensor([[[0.0, 0, 1]], [[0, 0, 1]], [[1, 0, 0]]], dtype=torch.float64)
    boxes = torch.tensor([[0.0, 0, 1, 1]])
    place = Place(*torch.zeros(3, 3), (1, 1), boxes=boxes.expand(3, 1, 4))
    key = Units(key, place=place, others=others, others_boxes=boxes)  # all of them overlap
    match = Match(index=torch.zeros(3, 1, dtype=torch.int64))
    c = Comparison(Units(query), key, match, Batch(torch.arange(3)))
    _, found = InfoNCE(temperature=1.0, queue=0, batch='others').score(c)
    assert found['top1'] == pytest.approx(1 / 3)


@pytest.mark.parametrize('name', ['pixcontrast', 'resim', 'detcon', 'slotcon'])
@pytest.mark.parametrize(
    'temperature',
    [
        dict(type='densecl.LearnedTemperature', start=0.25),
        dict(type='densecl.AlignmentAdaptiveTemperature', value=0.3),
        dict(start=0.5, end=0.1),
    ],
)
def test_every_method_takes_every_temperature(name, temperature):
    GENERATOR.manual_seed(0)
    make, options = CASES[name]
    c = make()
    objective = InfoNCE(temperature=temperature, queue=0, **options)
    objective.clock = Clock(step=10, total=10)
    answers = c.match.answers(c.key.vectors.shape[1])
    cosine = torch.cosine_similarity(c.query.compared[:, :, None], c.key.vectors[:, None], dim=-1)
    t = {
        'densecl.LearnedTemperature': 0.25,
        'densecl.AlignmentAdaptiveTemperature': 0.3 * (1 + 0.5 * float(cosine[answers].detach().mean())),
    }.get(temperature.get('type'), 0.1)
    want, _ = InfoNCE(temperature=t, queue=0, **options).score(c)
    torch.testing.assert_close(objective.score(c)[0], want, rtol=1e-6, atol=0)


@pytest.mark.parametrize('name', ['detcon', 'slotcon', 'resim'])
def test_masses_work_among_units(name):
    """Debiased with the prior of 0, and Hard with no concentration, are the plain form."""
    GENERATOR.manual_seed(0)
    make, options = CASES[name]
    c = make()
    plain, _ = InfoNCE(temperature=T, queue=0, **options).score(c)
    hard = dict(type='densecl.Hard', prior=0.0, concentration=1e-9)
    loss, _ = InfoNCE(temperature=T, queue=0, negatives=hard, **options).score(c)
    torch.testing.assert_close(loss, plain, rtol=1e-6, atol=0)
    other, _ = InfoNCE(temperature=T, queue=0, negatives=dict(type='densecl.Hard'), **options).score(c)
    assert (other - plain).abs() > 0.01


def test_what_units_and_rules_must_have():
    assert InfoNCE(queue=0, batch='units+own').needs == {'own', 'ids'}
    assert InfoNCE(queue=0, batch='units+queries').needs == {'ids'}
    assert InfoNCE(queue=0, batch='others').needs == {'others', 'one answer'}
    assert InfoNCE(queue=0, batch='image').needs == {'several'}
    assert InfoNCE(queue=0, batch='units').needs == {'equal count'}
    assert InfoNCE().needs == InfoNCE(queue=0, batch='views').needs == {'pooled'}
    # Answers in other images, which labels name, need candidates whose images are known.
    assert InfoNCE(batch='views').across and not InfoNCE().across
