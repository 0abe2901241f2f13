"""LARS against scalar loops in float64, one weight and one number at a time."""

import copy
import math

import pytest
import torch
from mmengine.registry import OPTIMIZERS as ROOT
from mmengine.registry import DefaultScope

from densecl.engine.optimizers import LARS

SHAPES = [(4, 3), (2, 3, 2, 2), (5,), ()]
DECAY, TRUST, MOMENTUM = 0.1, 0.001, 0.9


def tensors(seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in SHAPES]


def norm(numbers):
    return math.sqrt(sum(x * x for x in numbers))


def scalar_step(w, g, v, lr, variant, decay, adapt):
    """One parameter as lists of numbers: the new weight and buffer."""
    u = [b + decay * a for a, b in zip(w, g, strict=True)]
    r = 1.0
    if variant == 'larc':
        if norm(w) == 0 or norm(g) == 0:  # apex touches neither decay nor scale then
            u = g
        elif adapt:
            r = TRUST * norm(w) / (norm(g) + decay * norm(w) + 1e-8)
    elif adapt and norm(w) > 0 and norm(u) > 0:
        r = TRUST * norm(w) / norm(u)
    inside = lr if variant == 'classic' else 1.0
    outside = 1.0 if variant == 'classic' else lr
    v = [MOMENTUM * b + inside * r * a for a, b in zip(u, v, strict=True)]
    return [a - outside * b for a, b in zip(w, v, strict=True)], v


def run(variant, rates, starts=None, **options):
    """LARS and the scalar form over a few steps; both lists of flat weights."""
    starts = starts or tensors(0)
    params = [torch.nn.Parameter(t.clone()) for t in starts]
    optimizer = LARS(params, lr=1.0, weight_decay=DECAY, variant=variant, **options)
    weights = [t.reshape(-1).tolist() for t in starts]
    buffers = [[0.0] * len(w) for w in weights]
    for step, lr in enumerate(rates):
        optimizer.param_groups[0]['lr'] = lr
        grads = tensors(step + 1)
        for param, grad in zip(params, grads, strict=True):
            param.grad = grad.clone()
        optimizer.step()
        for i, (param, grad) in enumerate(zip(params, grads, strict=True)):
            assert torch.equal(param.grad, grad)
            out = optimizer.param_groups[0]['exclude'] == '1d' and param.ndim <= 1
            weights[i], buffers[i] = scalar_step(
                weights[i],
                grad.reshape(-1).tolist(),
                buffers[i],
                lr,
                variant,
                decay=0.0 if out else DECAY,
                adapt=not out and options.get('adapt', True),
            )
    return [p.detach().reshape(-1).tolist() for p in params], weights


def assert_same(got, expected):
    for a, b in zip(got, expected, strict=True):
        assert a == pytest.approx(b, rel=1e-12, abs=1e-14)


@pytest.mark.parametrize('variant', ['classic', 'popular', 'larc'])
@pytest.mark.parametrize('rates', [[0.7], [0.1, 0.7, 0.3]], ids=['one step', 'changing lr'])
def test_against_the_scalar_form(variant, rates):
    assert_same(*run(variant, rates))


@pytest.mark.parametrize('variant', ['classic', 'popular', 'larc'])
@pytest.mark.parametrize('exclude', ['1d', None])
@pytest.mark.parametrize('adapt', [True, False])
def test_exclusion_and_adaptation_are_choices(variant, exclude, adapt):
    assert_same(*run(variant, [0.5, 0.2], exclude=exclude, adapt=adapt))


def test_classic_and_popular_differ_only_while_lr_changes():
    same = [run(variant, [0.5, 0.5, 0.5])[0] for variant in ('classic', 'popular')]
    assert_same(*same)
    one, other = (run(variant, [0.5, 0.1])[0] for variant in ('classic', 'popular'))
    # w1 - w2: the first step enters the second with its own lr, or with the new one.
    assert one[0] != pytest.approx(other[0], rel=1e-6)


@pytest.mark.parametrize(
    ('variant', 'trust'),
    [('classic', 0.0050767), ('popular', 0.0050767), ('larc', 0.0033333)],
)
def test_worked_step(variant, trust):
    """w = (3, 4), g = (0.6, -0.8), decay 0.1: |w| = 5, |g| = 1, |g + 0.1 w| = sqrt(0.97)."""
    param = torch.nn.Parameter(torch.tensor([[3.0, 4.0]], dtype=torch.float64))
    param.grad = torch.tensor([[0.6, -0.8]], dtype=torch.float64)
    LARS([param], lr=1.0, weight_decay=0.1, variant=variant).step()
    update = torch.tensor([[0.9, -0.4]], dtype=torch.float64)
    step = torch.tensor([[3.0, 4.0]], dtype=torch.float64) - param.detach()
    torch.testing.assert_close(step / update, torch.full((1, 2), trust).double(), rtol=2e-5, atol=0)


@pytest.mark.parametrize('variant', ['classic', 'popular', 'larc'])
def test_zero_weights_and_zero_gradients(variant):
    zero_weight = torch.nn.Parameter(torch.zeros(2, 2))
    zero_weight.grad = torch.ones(2, 2)
    zero_grad = torch.nn.Parameter(torch.ones(2, 2))
    zero_grad.grad = torch.zeros(2, 2)
    LARS([zero_weight, zero_grad], lr=0.5, weight_decay=DECAY, variant=variant).step()
    assert torch.equal(zero_weight.detach(), torch.full((2, 2), -0.5))
    # classic and popular: r = trust * 2 / (0.1 * 2), on an update of 0.1; larc: left alone
    left = 1.0 if variant == 'larc' else 1 - 0.5 * 0.01 * 0.1
    torch.testing.assert_close(zero_grad.detach(), torch.full((2, 2), left))


def test_parameters_without_gradient_are_skipped():
    params = [torch.nn.Parameter(torch.ones(2, 2)) for _ in range(2)]
    params[0].grad = torch.ones(2, 2)
    optimizer = LARS(params, lr=1.0, weight_decay=DECAY)
    optimizer.step()
    assert torch.equal(params[1].detach(), torch.ones(2, 2))
    assert params[1] not in optimizer.state
    for param in params:
        param.grad = None
    optimizer.step()


def test_state_makes_a_resumed_run_equal():
    def steps(params, optimizer, seeds):
        for seed in seeds:
            for param, grad in zip(params, tensors(seed), strict=True):
                param.grad = grad
            optimizer.step()

    params = [torch.nn.Parameter(t) for t in tensors(0)]
    optimizer = LARS(params, lr=0.3, weight_decay=DECAY, variant='classic')
    steps(params, optimizer, [1, 2])
    copies = [torch.nn.Parameter(p.detach().clone()) for p in params]
    resumed = LARS(copies, lr=99.0)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    steps(params, optimizer, [3, 4])
    steps(copies, resumed, [3, 4])
    assert all(torch.equal(a, b) for a, b in zip(params, copies, strict=True))
    assert resumed.param_groups[0]['variant'] == 'classic'


def test_half_precision_norms_do_not_overflow():
    param = torch.nn.Parameter(torch.full((300, 300), 300.0, dtype=torch.float16))
    param.grad = torch.full((300, 300), 300.0, dtype=torch.float16)
    LARS([param], lr=1.0).step()  # |w| = |g| = 90,000: more than float16 holds
    assert param.dtype == torch.float16
    # r = 0.001, 300 - 0.3 in float16's steps of 0.25
    assert torch.equal(param.detach(), torch.full_like(param, 299.75))


def test_gradient_scaler_skips_overflow_and_unscales():
    scaler = torch.amp.GradScaler('cpu', init_scale=8.0)
    plain, scaled = (torch.nn.Parameter(torch.ones(2, 2)) for _ in range(2))
    optimizers = [LARS([p], lr=1.0, weight_decay=DECAY) for p in (plain, scaled)]
    weights = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    (plain * weights).sum().backward()
    optimizers[0].step()
    scaler.scale((scaled * weights).sum()).backward()
    scaler.step(optimizers[1])
    scaler.update()
    torch.testing.assert_close(plain, scaled)
    scaled.grad = torch.full((2, 2), torch.inf)
    before = scaled.detach().clone()
    scaler.step(optimizers[1])
    assert torch.equal(scaled.detach(), before)


def test_closure_and_registry():
    param = torch.nn.Parameter(torch.ones(2, 2))
    with DefaultScope.overwrite_default_scope('densecl'):
        optimizer = ROOT.build(dict(type='LARS', params=[param], lr=0.1))
    assert isinstance(optimizer, LARS)

    def closure():
        loss = param.sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 4
    assert (param < 1).all()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(lr=-1), 'lr must be >= 0'),
        (dict(lr=1, variant='apex'), 'variant'),
        (dict(lr=1, exclude='bias'), 'exclude'),
        (dict(lr=1, trust=-1.0), 'trust'),
    ],
)
def test_errors_name_the_argument(options, message):
    with pytest.raises(ValueError, match=message):
        LARS([torch.nn.Parameter(torch.ones(1))], **options)
