"""A step that is not finite leaves weights, targets, memories, statistics and optimiser as they were."""

import copy

import pytest
import torch
from mmengine.config import Config
from mmengine.optim.optimizer import amp_optimizer_wrapper

from densecl.engine.optim import GradNormAmpOptimWrapper, GradNormOptimWrapper, step_and_restore, step_fused
from densecl.engine.optimizers import LARS
from densecl.engine.step_state import StepState
from densecl.models.memory import MemoryBank, Queue
from densecl.models.necks.quantizer import VectorQuantizer
from densecl.models.pretrainers.momentum import move_on_device, move_where
from tests.engine.test_resume import assert_same
from tests.pins import make

# Queues, momentum, centres, Sinkhorn with a queue, banks and state per image, slots, prototypes, redundancy.
METHODS = ('densecl_', 'dino_resnet18', 'npid', 'swav_resnet18')
SLOW = ('barlow', 'byol', 'detco', 'mocov3_resnet18', 'pirl', 'sincere', 'slotcon', 'vicregl')
PATHS = [path for path in make.PATHS if path.stem.startswith(METHODS)]
PATHS += [pytest.param(p, marks=pytest.mark.slow) for p in make.PATHS if p.stem.startswith(SLOW)]


def trainable(path):
    cfg = Config.fromfile(path)
    model = make.build(cfg)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    wrapper = GradNormOptimWrapper(optimizer=optimizer)
    wrapper.guarded = True
    return cfg, model, wrapper


def step(model, wrapper, state, views, spoil=None):
    """One step as a run takes it; ``spoil`` may change gradients."""
    torch.manual_seed(0)
    state.keep()
    losses = model.loss(views)
    wrapper.backward(sum(value for key, value in losses.items() if 'loss' in key))
    if spoil is not None:
        spoil(model)
    model.before_optimizer_step()
    wrapper.step()
    wrapper.zero_grad()
    state.close(wrapper.finite)
    model.after_optimizer_step(wrapper.finite)


def contents(model, wrapper):
    state = {name: value for name, value in model.state_dict().items() if name != 'step'}
    for name in [n for n in state if n.endswith('prototypes.weight')]:
        state[name] = state[name].float()  # brought to length 1 before each pass, in the last bit again
    return copy.deepcopy(dict(state=state, optimizer=wrapper.optimizer.state_dict()))


def spoil_a_gradient(model):
    next(p for p in model.parameters() if p.grad is not None).grad[0, 0] = float('inf')


@pytest.mark.parametrize('path', PATHS, ids=lambda path: path.stem.split('_1xb')[0])
def test_a_step_with_an_image_of_nan_changes_nothing(path):
    cfg, model, wrapper = trainable(path)
    state = StepState(model)
    step(model, wrapper, state, make.make_views(path.stem, cfg, 0))
    before = contents(model, wrapper)
    broken = make.make_views(path.stem, cfg, 1)
    for view in broken.images:
        view[1] = float('nan')
    step(model, wrapper, state, broken)
    assert_same(contents(model, wrapper), before)
    assert model.steps == 2 and not wrapper.finite
    # A gradient alone, when queues and banks have taken in good keys already.
    step(model, wrapper, state, make.make_views(path.stem, cfg, 1), spoil_a_gradient)
    assert_same(contents(model, wrapper), before)
    step(model, wrapper, state, make.make_views(path.stem, cfg, 1))
    after, before = contents(model, wrapper)['state'], before['state']
    assert wrapper.finite and any(not torch.equal(after[name], before[name]) for name in after)


@pytest.mark.parametrize('loss', [float('inf'), float('-inf'), float('nan')])
def test_a_loss_that_is_not_finite_leaves_no_gradient_finite(loss):
    """Infinite losses have finite gradients: other processes would not hear of them."""
    weight = torch.nn.Parameter(torch.ones(3))
    wrapper = GradNormOptimWrapper(torch.optim.SGD([weight], lr=1.0))
    wrapper.guarded = True
    wrapper.backward(weight.sum() + loss)
    assert weight.grad.isnan().all()
    wrapper.step()
    assert weight.tolist() == [1, 1, 1] and not wrapper.finite


OPTIMIZERS = {
    'sgd': (step_fused, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1, fused=True)),
    'adam': (step_fused, lambda p: torch.optim.Adam(p, lr=0.1, fused=True)),
    'adamw': (step_fused, lambda p: torch.optim.AdamW(p, lr=0.1, fused=True)),
    'lars': (step_and_restore, lambda p: LARS(p, lr=0.1, weight_decay=0.1)),
    'foreach': (step_and_restore, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, foreach=True)),
}


@pytest.mark.parametrize('bad', [{0}, {2, 3}])
@pytest.mark.parametrize('name', OPTIMIZERS)
def test_the_device_leaves_a_step_out(name, bad):
    """What is decided on a device equals the optimiser that never saw those gradients, bit for bit."""
    guarded, make_optimizer = OPTIMIZERS[name]
    if guarded is step_and_restore:
        bad = {number + 1 for number in bad}  # a first step is waited for
    sides = []
    for _ in range(2):
        generator = torch.Generator().manual_seed(0)
        params = [torch.nn.Parameter(torch.randn(4, 3, generator=generator)) for _ in range(3)]
        sides.append((params, make_optimizer(params)))
    (params, optimizer), (others, reference) = sides
    for number in range(6):
        generator = torch.Generator().manual_seed(number)
        for p, q in zip(params, others, strict=True):
            p.grad = torch.randn(4, 3, generator=generator)
            q.grad = p.grad.clone()
            if number in bad:
                p.grad[0, 0] = float('nan')
        guarded(torch.tensor(number not in bad), optimizer)
        if number not in bad:
            reference.step()
    assert_same(params, others)
    assert_same(optimizer.state_dict(), reference.state_dict())


def test_a_target_moves_by_the_device_as_by_the_host():
    online, target = torch.randn(5, 4), torch.randn(5, 4)
    host = [target.clone()]
    move_where(torch.tensor(True), host, [online], 0.9)
    torch.testing.assert_close(host[0], 0.9 * target + 0.1 * online)
    move_where(torch.tensor(False), host, [torch.full_like(online, torch.nan)], 0.9)
    torch.testing.assert_close(host[0], 0.9 * target + 0.1 * online)

    for momentum in (0.0, 0.5, 0.9, 0.996, 1.0):
        sides = torch.randn(2, 3, 1001).split([1, 300, 700], 2)  # rows that vectors of a CPU do not fill
        target, online = ([x[side].contiguous() for x in sides] for side in range(2))
        host, device = [x.clone() for x in target], [x.clone() for x in target]
        move_on_device(torch.tensor(False), device, online, momentum)
        assert_same(device, target)
        move_where(None, host, online, momentum)
        move_on_device(torch.tensor(True), device, online, momentum)
        assert_same(device, host)


def test_what_began_with_a_batch_that_is_taken_back_begins_again():
    model = torch.nn.Sequential(VectorQuantizer(2, codes=3, dim=2))
    model.heads = {}
    state, quantizer = StepState(model), model[0]
    state.keep()
    quantizer(torch.full((1, 2, 2, 2), torch.nan))
    state.close(torch.tensor(False))
    state.begin_again()
    assert not quantizer.codebook.any()
    state.keep()
    quantizer(torch.randn(1, 2, 2, 2))
    state.close(torch.tensor(True))
    state.begin_again()
    codes = quantizer.codebook.clone()
    quantizer(torch.randn(1, 2, 2, 2))
    assert codes.any() and codes.isfinite().all() and torch.equal(quantizer.codebook, codes)


def test_memories_take_back_several_writes():
    queue, bank = Queue(5, 2), MemoryBank(4, 2)
    before = copy.deepcopy((queue.state_dict(), bank.state_dict()))
    queue.journal, bank.journal = [], []
    for _ in range(3):
        queue.enqueue(torch.full((3, 2), torch.nan), torch.arange(3))
        bank.update(torch.tensor([1, 1, 3]), torch.full((3, 2), torch.inf))
    queue.keep_where(torch.tensor(False))
    bank.keep_where(torch.tensor(False))
    after = queue.state_dict(), bank.state_dict()
    for kept, now in zip(before, after, strict=True):
        for name in set(kept) - {'pointer', 'enqueued'}:  # the step's state has the counters
            assert torch.equal(kept[name], now[name])
    assert queue.journal == [] and Queue(5, 2).journal is None


@pytest.mark.parametrize('fused', [False, True])
def test_a_loss_scaler_leaves_out_the_same_steps(fused, monkeypatch):
    """float16: the scaler decides, and the state follows it; its scale falls."""
    monkeypatch.setattr(amp_optimizer_wrapper, 'is_cuda_available', lambda: True)
    weight = torch.nn.Parameter(torch.ones(3))
    wrapper = GradNormAmpOptimWrapper(optimizer=torch.optim.AdamW([weight], lr=0.1, fused=fused))
    wrapper.loss_scaler, wrapper.guarded = torch.amp.GradScaler('cpu', init_scale=64.0), True
    for factor, counts in ((1.0, True), (float('nan'), False), (float('inf'), False), (1.0, True)):
        before = weight.detach().clone(), copy.deepcopy(wrapper.optimizer.state_dict())
        wrapper.backward(weight.sum() * 2.0 + factor)
        wrapper.step()
        wrapper.zero_grad()
        assert bool(wrapper.finite) == counts
        if not counts:
            assert_same((weight.detach(), wrapper.optimizer.state_dict()), before)
    assert wrapper.loss_scaler.get_scale() == 16.0


def test_a_buffer_that_a_step_replaces_is_restored_too():
    """``self.count = ...`` puts a new tensor in the place of the buffer."""
    model = torch.nn.Module()
    model.register_buffer('count', torch.ones(3))
    state = StepState(model)
    for counts, want in ((False, 1.0), (True, 2.0)):
        state.keep()
        model.count = model.count * 2
        state.close(torch.tensor(counts))
        assert model.count.tolist() == [want] * 3


@pytest.mark.parametrize('heads', [torch.nn.ModuleList, lambda parts: torch.nn.ModuleDict({'a': parts[0]})])
def test_a_model_of_ones_own_may_call_anything_its_heads(heads):
    model = torch.nn.Module()
    model.heads = heads([torch.nn.BatchNorm1d(3)])
    state = StepState(model)
    state.keep()
    norm = next(module for module in model.modules() if isinstance(module, torch.nn.BatchNorm1d))
    norm(torch.ones(4, 3))
    state.close(torch.tensor(False))
    assert norm.running_mean.tolist() == [0.0] * 3 and norm.num_batches_tracked == 0
