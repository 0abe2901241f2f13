"""Counts a step of a config without its data and without a GPU."""

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
import torch.distributed as dist
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.overrides import TorchFunctionMode

from densecl.datasets import collate_views
from densecl.engine.launch import use_plain_batch_norm
from densecl.models.backbones.recompute import blocks_of, recompute_blocks
from densecl.registry import MODELS

from .fake import fake_copy, fake_views
from .step_cost import StepCounter, size_of
from .wire import WireCounter

DTYPES = {'fp32': None, 'bf16': torch.bfloat16, 'fp16': torch.float16}


@dataclass(frozen=True)
class StepCost:
    """Memory, operations and communication of one process in an optimiser step; sizes in bytes.

    Attributes:
        batch: photos per process.
        world: number of processes.
        precision: precision of the forward passes.
        parameters, trained: numbers of parameters of the online network: all, and those with a gradient.
        online, target, memories: weights and statistics of the online network; those of the target, of a
            frozen start and of teachers; queues and banks.
        optimizer: state of the optimiser.
        images: views of the batch in float32.
        passes: activations, losses and gradients at the peak.
        gradients: gradients of a whole step, a part of ``passes``.
        buckets: copies of the gradients that data-parallel training sends.
        accumulated: gradients of earlier batches of the same step.
        counter: counter of operations.
        wire: collective -> bytes that the process sends, gradients included.
        collectives: number of collective calls, without those for gradients.
    """

    batch: int
    world: int
    precision: str
    parameters: int
    trained: int
    online: int
    target: int
    memories: int
    optimizer: int
    images: int
    passes: int
    gradients: int
    buckets: int
    accumulated: int
    collectives: int
    counter: StepCounter
    wire: dict[str, int]

    @property
    def peak(self) -> int:
        """Peak memory of a step in bytes."""
        held = self.online + self.target + self.memories + self.optimizer + self.images
        return held + self.passes + self.buckets + self.accumulated


class Step:
    """An optimiser step of a config that can be counted for any batch size.

    Args:
        cfg: config of a pretraining; it is changed.
        samples: one or a few samples of its data set; they are repeated.
        images: number of images in the data set.
    """

    def __init__(self, cfg: Config, samples: list, images: int) -> None:
        use_plain_batch_norm(cfg._cfg_dict)
        init_default_scope(cfg.get('default_scope', 'densecl'))
        if 'heads_first' in cfg.model:
            cfg.model.heads_first = 0  # steps with a frozen backbone would cost less
        with _NotDrawn():
            self.model = MODELS.build(cfg.model).train()
        for module in self.model.modules():
            if hasattr(module, 'set_images'):  # as DataSizeHook does
                module.set_images(images)
        self.model.clock.total = self.model.clock.epoch = 1000
        self.optim_wrapper = _plain(cfg.optim_wrapper)
        self.accumulates = cfg.optim_wrapper.get('accumulative_counts', 1) > 1
        with torch.no_grad():
            self.views = self.model.data_preprocessor(collate_views(samples), True)['inputs']

    def checkpoint_activations(self) -> bool:
        """Count as with ``--checkpoint-activations`` from now on; False if the backbone has no blocks."""
        if not blocks_of(self.model.backbone):
            return False
        recompute_blocks(self.model.backbone)
        return True

    def count(self, batch: int, precision: str = 'fp32', world: int = 1) -> 'StepCost':
        """Count one of ``world`` processes with ``batch`` photos; the others are simulated.

        Args:
            batch: photos per process, a multiple of the number of samples.
            precision: ``'fp32'``, ``'bf16'`` or ``'fp16'``.
            world: number of processes.

        Raises:
            ValueError: the shapes of a step depend on the data.
        """
        mode = FakeTensorMode()
        model = fake_copy(mode, self.model)
        views = fake_views(mode, self.views, times=batch // len(self.views.indices))
        with mode:
            wrapper = build_optim_wrapper(model, self.optim_wrapper)
        wrapper.measure = False  # do not log the gradient norm, as this would wait for the device
        dtype = DTYPES[precision]
        lower = torch.autocast('cpu', dtype=dtype) if dtype else nullcontext()
        counter, wire = StepCounter(), WireCounter()
        with played_processes(world), mode, wire, counter:
            with lower, _AsOnGpu():
                loss = _loss(model, views)
            loss.backward()
            passes = counter.peak
            model.before_optimizer_step()
            wrapper.step()
            wrapper.zero_grad()
            model.after_optimizer_step()
        given = dict(batch=batch, world=world, precision=precision, passes=passes, counter=counter)
        given |= dict(collectives=sum(wire.calls.values()), accumulates=self.accumulates)
        return _cost(model, wrapper.optimizer, views, dict(wire.bytes), given)


def _loss(model, views) -> torch.Tensor:
    try:
        losses = model(views, mode='loss')
    except (DynamicOutputShapeException, DataDependentOutputException) as error:
        frames = traceback.extract_tb(error.__traceback__)
        without = f'{os.sep}torch{os.sep}', f'densecl{os.sep}planning{os.sep}'
        line = next(f for f in reversed(frames) if not any(part in f.filename for part in without))
        raise ValueError(
            f'the step cannot be counted: its shapes depend on the data ({line.filename}:{line.lineno}, '
            f'{line.line}); measure it instead'
        ) from error
    return sum(value for name, value in losses.items() if name.startswith('loss'))


def _cost(model, optimizer, views, wire: dict[str, int], given: dict) -> StepCost:
    parts = {'online': [], 'target': [], 'memories': []}
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        copies = _gives_answers(name, tensor)
        memory = '.objective.' in name and not isinstance(tensor, torch.nn.Parameter)
        parts['target' if copies else 'memories' if memory else 'online'].append(tensor)
    trained = [p for p in model.parameters() if p.requires_grad]
    gradients = size_of(trained)
    world, accumulates = given['world'], given.pop('accumulates')
    if world > 1:  # a ring all-reduce sends every gradient almost twice
        wire['gradients'] = int(2 * (world - 1) / world * gradients)
    state = [x for entry in optimizer.state.values() for x in entry.values() if isinstance(x, torch.Tensor)]
    mine = (p for name, p in model.named_parameters() if not _gives_answers(name, p))
    return StepCost(
        parameters=sum(p.numel() for p in mine),
        trained=sum(p.numel() for p in trained),
        **{name: size_of(tensors) for name, tensors in parts.items()},
        optimizer=size_of(state),
        images=size_of(views.images),
        gradients=gradients,
        buckets=gradients if world > 1 else 0,
        accumulated=gradients if accumulates else 0,
        wire=wire,
        **given,
    )


def _gives_answers(name: str, tensor: torch.Tensor) -> bool:
    """Whether it belongs to a copy of the network, or to a head's own target that is not trained."""
    return name.startswith(('target.', 'start.')) or ('.target.' in name and not tensor.requires_grad)


def _plain(optim_wrapper: dict) -> dict:
    """The wrapper without loss scale and accumulation, which a fake step cannot have."""
    left_out = ('type', 'dtype', 'loss_scale', 'accumulative_counts')
    return dict({k: v for k, v in optim_wrapper.items() if k not in left_out}, type='OptimWrapper')


class _NotDrawn(TorchFunctionMode):
    """Does not draw weights: their values have no influence, and large tensors would take seconds."""

    _DRAWN = (torch.Tensor.normal_, torch.Tensor.uniform_)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """Return 0 instead of a draw: with uninitialised memory a truncated draw might repeat for ever."""
        return args[0].zero_() if func in self._DRAWN else func(*args, **(kwargs or {}))


class _AsOnGpu(TorchFunctionMode):
    """Makes a CPU's autocast use float32 where a GPU's does; the CPU's leaves these functions in bfloat16."""

    _IN_FLOAT = (F.layer_norm, F.group_norm, F.softmax, F.log_softmax, F.normalize)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """Call these functions in float32."""
        if func in self._IN_FLOAT and args and args[0].dtype in (torch.float16, torch.bfloat16):
            args = (args[0].float(), *args[1:])
        return func(*args, **(kwargs or {}))


@contextmanager
def played_processes(world: int) -> Iterator[None]:
    """A process group of ``world`` processes, of which only this one exists."""
    if world == 1:
        yield
        return
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group('fake', store=FakeStore(), rank=0, world_size=world)
    try:
        yield
    finally:
        dist.destroy_process_group()
