"""Predicts what a pretraining run will need, before it starts."""

import copy
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mmengine.config import Config

from densecl.engine.optim import autocast_dtype
from densecl.messages import check_choice

from .counting import DTYPES, Step, StepCost
from .gpus import GPUS, Gpu
from .photos import Samples, take_samples

IMAGENET = 1_281_167
#: Ratio of the roofline's device time to that of published runs, see :func:`speed`.
EFFICIENCY = (0.42, 0.8)
#: Seconds that Python needs to launch an operation on a GPU, measured with an H100 in a virtual machine.
HOST = (8e-6, 28e-6)
#: GiB of a GPU that torch's allocator cannot use: other memory and fragments.
CONTEXT, FRAGMENTS = 0.6, 0.06
GIB = 2**30


@dataclass(frozen=True)
class Figure:
    """A line of the plan.

    Attributes:
        name: name of the figure.
        value: value as text, with its unit.
        source: ``'counted'``, ``'predicted'``, ``'measured'`` or ``'given'``.
    """

    name: str
    value: str
    source: str


@dataclass(frozen=True)
class ResourcePlan:
    """The resources that a run needs.

    Attributes:
        gpu: the GPU.
        cost: cost of a step.
        samples: samples of its data.
        images, epochs: images in the data set, and epochs of the run.
        fits: largest number of photos that fit on a GPU, without and with activation checkpointing; the
            latter is None if the backbone has no blocks.
        speed: images/s of all GPUs, lower and upper estimate.
        options: settings that follow, in the form of ``--cfg-options``.
        hours: the available hours, if given.
    """

    gpu: Gpu
    cost: StepCost
    samples: Samples
    images: int
    epochs: float
    fits: tuple[int, int | None]
    speed: tuple[float, float]
    options: dict[str, Any]
    hours: float | None = None

    @property
    def duration(self) -> tuple[float, float]:
        """Hours of the run, lower and upper estimate."""
        low, high = self.speed
        return tuple(self.epochs * self.images / rate / 3600 for rate in (high, low))

    @property
    def cores(self) -> int:
        """Number of processor cores that keep a GPU busy at the upper estimate of its speed."""
        return math.ceil(self.speed[1] / self.cost.world * self.samples.seconds)

    def figures(self) -> list[Figure]:
        """Every line of the plan."""
        return [*self._model(), *self._memory(), *self._data(), *self._time()]

    def __str__(self) -> str:
        rows = [(f.name, f.value, f.source) for f in self.figures()]
        wide = [max(len(row[column]) for row in rows) for column in (0, 1)]
        lines = [f'{name:{wide[0]}s}  {value:{wide[1]}s}  {source}'.rstrip() for name, value, source in rows]
        if self.options:
            lines.append('--cfg-options ' + ' '.join(f'{key}={value}' for key, value in self.options.items()))
        return '\n'.join(lines)

    def _model(self) -> Iterable[Figure]:
        cost = self.cost
        gpus = f'{cost.world} GPU{"s" * (cost.world > 1)}'
        yield Figure('processes', f'{gpus} x {cost.batch} photos, {cost.precision}', 'given')
        share = f'{100 * cost.trained / cost.parameters:.1f}'
        trained = '' if cost.trained == cost.parameters else f', {share} % of them trained'
        yield Figure('parameters', f'{cost.parameters / 1e6:.1f} M{trained}', 'counted')
        flops = cost.counter.flops
        a_photo = f'{flops / cost.batch / 1e9:.1f} G a photo'
        yield Figure('operations', f'{flops / 1e12:.2f} TFLOP a step and GPU, {a_photo}', 'counted')

    def _memory(self) -> Iterable[Figure]:
        cost = self.cost
        parts = {
            'weights': cost.online,
            'target and start': cost.target,
            'queues and banks': cost.memories,
            'optimiser': cost.optimizer,
            'views': cost.images,
            'activations, losses, gradients': cost.passes,
            'gradients to be sent': cost.buckets,
            'gradients of earlier batches': cost.accumulated,
        }
        for name, size in parts.items():
            if size:
                yield Figure(f'  {name}', f'{size / GIB:7.2f} GiB', 'counted')
        yield Figure('memory', f'{cost.peak / GIB:7.2f} GiB and {CONTEXT} of CUDA itself', 'predicted')
        plain, checkpointed = self.fits
        room = f'{self.gpu.name}, {self.gpu.memory:g} GiB'
        more = '' if checkpointed is None else f'; {checkpointed:,} with --checkpoint-activations'
        yield Figure('largest batch', f'{plain:,} photos a GPU ({room}){more}', 'predicted')
        if cost.world > 1:
            sent = ', '.join(f'{name} {size / 1e6:,.0f}' for name, size in sorted(cost.wire.items()) if size)
            yield Figure('sent', f'{sum(cost.wire.values()) / 1e6:,.0f} MB a step and GPU: {sent}', 'counted')

    def _data(self) -> Iterable[Figure]:
        where = 'photos of 500 x 375 px in their place' if self.samples.images is None else 'its own photos'
        milliseconds = 1e3 * self.samples.seconds
        yield Figure('a photo', f'{milliseconds:.1f} ms of one core of this machine ({where})', 'measured')
        yield Figure('cores', f'{self.cores} of this kind a GPU to keep it busy', 'predicted')
        yield Figure('file descriptors', f'{self.samples.tensors} a batch that waits', 'counted')

    def _time(self) -> Iterable[Figure]:
        low, high = (rate / self.cost.world for rate in self.speed)
        yield Figure('speed', f'{_round(low)} to {_round(high)} images/s a GPU', 'predicted')
        short, long = self.duration
        run = f'{self.epochs:g} epochs of {self.images:,} images'
        yield Figure('time', f'{_hours(short)} to {_hours(long)}: {run}', 'predicted')
        if self.hours is not None:
            epochs = tuple(self.epochs * self.hours / hours for hours in (long, short))
            value = f'{epochs[0]:,.1f} to {epochs[1]:,.1f} in {self.hours:g} hours'
            yield Figure('epochs', value, 'predicted')


def plan_resources(
    cfg: Config,
    gpu: str = 'h100',
    gpus: int | None = None,
    memory: float | None = None,
    images: int | None = None,
    hours: float | None = None,
    precision: str | None = None,
) -> ResourcePlan:
    """Count a step of a config, and predict what its run needs.

    Args:
        cfg: config of a pretraining from :func:`densecl.engine.launch.read_config`; it is not changed.
        gpu: one of :data:`densecl.planning.GPUS`.
        gpus: number of processes (default: the number that the config's learning rate is made for).
        memory: GiB of a GPU, instead of the data sheet's.
        images: images in the data set (default: those of the config's data, if they exist, else ImageNet's).
        hours: available hours.
        precision: ``'fp32'``, ``'bf16'`` or ``'fp16'`` (default: the config's).

    Raises:
        ValueError: an unknown GPU or precision, or a config that is no pretraining.
    """
    check_choice('--gpu', gpu, GPUS)
    if cfg.get('train_dataloader', {}).get('dataset', {}).get('type') != 'PretrainDataset':
        raise ValueError('the config is no pretraining: its train_dataloader.dataset is no PretrainDataset')
    chosen = replace(GPUS[gpu], memory=memory or GPUS[gpu].memory)
    precision = precision or config_precision(cfg)
    batch = cfg.train_dataloader.batch_size
    world = gpus or config_gpus(cfg)
    samples = take_samples(cfg, count=1)
    count = images or samples.images or IMAGENET
    own = copy.deepcopy(cfg)
    asked = own.model.pop('checkpoint_activations', False)
    step = Step(own, samples.samples, count)
    sizes = (batch, 2 * batch)  # two counts define a straight line
    plain = [step.count(photos, precision, world) for photos in sizes]
    checkpointed = None
    if step.checkpoint_activations():
        checkpointed = [step.count(photos, precision, world) for photos in sizes]
    full = checkpointed[0] if asked else plain[0]
    return ResourcePlan(
        gpu=chosen,
        cost=full,
        samples=samples,
        images=count,
        epochs=_epochs(cfg.train_cfg, batch * world / count),
        fits=(_largest(chosen, *plain), checkpointed and _largest(chosen, *checkpointed)),
        speed=speed(full, chosen),
        options=_options(cfg, chosen, checkpointed if asked else plain, count),
        hours=hours,
    )


def config_precision(cfg: Config) -> str:
    """The precision of a config's training."""
    dtype = autocast_dtype(cfg.optim_wrapper)
    return next((name for name, known in DTYPES.items() if known == dtype), 'fp32')


def config_gpus(cfg: Config) -> int:
    """The number of processes that a config's learning rate is made for."""
    whole = (cfg.get('auto_scale_lr') or {}).get('base_batch_size')
    steps = cfg.optim_wrapper.get('accumulative_counts', 1)
    return max(round(whole / cfg.train_dataloader.batch_size / steps), 1) if whole else 1


def speed(cost: StepCost, gpu: Gpu) -> tuple[float, float]:
    """Images/s of all GPUs, lower and upper estimate.

    The time of an operation is the larger of two: its arithmetic and its memory traffic, both at the GPU's
    peak (roofline model, Williams et al., 2009). Published runs reach a part of this speed: MoCo's ResNet-50
    0.50 (168 images/s per V100 in float32), a supervised ResNet-50 0.8 (2,470 images/s per A100 in half
    precision), steps measured on an H100 0.44 to 0.62 (docs/cost.md). If Python needs more time to launch the
    operations than the device to run them, Python's time counts.
    """
    device = sum(n * _seconds(o, gpu) for o, n in cost.counter.operations.items())
    sending = sum(cost.wire.values()) / (gpu.link * 1e9)
    photos = cost.batch * cost.world
    slow = max((device + sending) / EFFICIENCY[0], cost.counter.calls * HOST[1])
    fast = max(device / EFFICIENCY[1], sending, cost.counter.calls * HOST[0])
    return photos / slow, photos / fast


def _seconds(operation, gpu: Gpu) -> float:
    return max(operation.flops / gpu.flops(operation.kind), operation.moved / (gpu.bandwidth * 1e9))


def _epochs(train_cfg: dict, share: float) -> float:
    """Epochs of a run whose length is in epochs, or in steps that use a ``share`` of the data set each."""
    return train_cfg['max_epochs'] if 'max_epochs' in train_cfg else train_cfg.get('max_iters', 0) * share


def _largest(gpu: Gpu, one: StepCost, other: StepCost, besides: int = 0) -> int:
    """Number of photos that fit beside ``besides`` bytes; memory is a straight line through two counts."""
    room = (gpu.memory - CONTEXT) * GIB / (1 + FRAGMENTS) - besides
    slope = (one.peak - other.peak) / (one.batch - other.batch)
    return max(math.floor((room - one.peak) / slope) + one.batch, 0) if slope > 0 else one.batch


def _options(cfg: Config, gpu: Gpu, counts: Sequence[StepCost], images: int) -> dict[str, Any]:
    """Settings that follow from the machine and the data."""
    found: dict[str, Any] = {}
    batch = counts[0].batch
    if _largest(gpu, *counts) < batch:  # accumulated gradients need memory beside the activations
        fits = _largest(gpu, *counts, besides=counts[0].gradients)
        parts = next((n for n in range(2, batch + 1) if batch % n == 0 and batch // n <= fits), batch)
        found['train_dataloader.batch_size'] = batch // parts
        found['optim_wrapper.accumulative_counts'] = parts * cfg.optim_wrapper.get('accumulative_counts', 1)
    for name, head in cfg.model.heads.items():
        objective = head.get('objective')
        queue = objective.get('queue') if isinstance(objective, dict) else None
        if isinstance(queue, int) and queue > images / 2:
            found[f'model.heads.{name}.objective.queue'] = 2 ** int(math.log2(0.42 * images))
    return found


def _round(value: float) -> str:
    """The value with two significant digits."""
    digits = max(int(math.log10(value)) - 1, 0) if value >= 1 else 0
    return f'{round(value, -digits):,.0f}'


def _hours(value: float) -> str:
    if value * 3600 < 100:
        return f'{value * 3600:.0f} s'
    return f'{60 * value:.0f} min' if value < 1.5 else f'{value:,.1f} h' if value < 20 else f'{value:,.0f} h'
