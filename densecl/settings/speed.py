"""Photos per second of a training: estimated from a table, or timed."""

import copy
import resource
import sys
import time

from .conditions import Conditions, Speed

#: Forward and backward passes of one 128 px view, stride 16, per second and core. EfficientNet-Lite0 and
#: ResNet-18 were measured; the others follow from their number of operations relative to ResNet-18's.
_TABLE = {
    'efficientnet-lite0': 25.0,
    'resnet18': 36.0,
    'resnet34': 18.0,
    'resnet50': 16.0,
    'vit-tiny': 50.0,
    'vit-small': 14.0,
    'vit-base': 3.7,
    'vit-large': 1.05,
    'convnext-tiny': 14.0,
    'swin-tiny': 14.0,
}
#: Cost of a step per photo, in forward and backward passes of a view; a forward pass alone is a third. From
#: random weights: two views online and two by the target. From given weights it is less, as the stem is
#: frozen (measured with PixPro).
_UNITS = {True: 2.27, False: 2 + 2 / 3}
_REFERENCE = 128


def estimated_speed(c: Conditions, size: int) -> Speed:
    """Estimate from the table, the number of cores and the size of the views."""
    name = next((name for name in _TABLE if c.architecture.startswith(name)), 'resnet50')
    units = 1 if c.continued and c.method in (None, 'anchor') else _UNITS[c.continued]
    if c.continued:
        units += 2**2 / 3  # the start's forward pass, with a view of twice the side
    rate = _TABLE[name] * (_REFERENCE / size) ** 2 / units
    if name.startswith('vit'):  # patches of 16 px in the table
        rate *= (c.patch / 16) ** 2
    if c.machine.gpu:
        return Speed(rate * 100, f'a guess for {c.machine.gpu}; the first steps tell')
    rate *= c.machine.cores**0.9 * (1 if c.machine.bf16 else 0.8)
    other = '' if name == c.architecture else f', taken for {c.architecture or "an unknown backbone"}'
    source = f'estimated from a table: {name}{other}, {size} px, {c.machine.cores} cores'
    return Speed(rate, source)


def timed_speed(cfg, steps: int = 2, photos: int = 16) -> Speed:
    """Time real steps of a config: views of real photos, forward, backward, optimiser.

    Views are made before the timing, as data workers make them in parallel to the training. The first step,
    which allocates memory, does not count.

    Args:
        cfg: config of a pretraining from :func:`densecl.engine.launch.load_config`; it is not changed.
        steps: number of steps to time.
        photos: photos per step, at most the config's batch.
    """
    import torch
    from mmengine.optim import build_optim_wrapper
    from mmengine.registry import init_default_scope

    from densecl.datasets import collate_views
    from densecl.engine.launch import use_plain_batch_norm
    from densecl.registry import DATASETS, MODELS

    cfg = copy.deepcopy(cfg)
    use_plain_batch_norm(cfg._cfg_dict)
    init_default_scope(cfg.get('default_scope', 'densecl'))
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    # The first steps, in which only the heads are trained, are cheaper than the rest.
    if 'heads_first' in cfg.model:
        cfg.model.heads_first = 0
    model = MODELS.build(cfg.model).to(device).train()
    model.clock.total, model.clock.epoch = 1000, 100
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    for module in model.modules():
        if hasattr(module, 'set_images'):  # as DataSizeHook does
            module.set_images(len(dataset))
    size = min(photos, cfg.train_dataloader.batch_size, len(dataset))
    batch = collate_views([dataset[i] for i in range(size)])
    before = _used(device)
    for number in range(steps + 1):
        if number == 1:
            _wait(device)
            start = time.perf_counter()
        model.train_step(batch, wrapper)
    _wait(device)
    seconds = time.perf_counter() - start
    source = f'measured: {steps} steps of {size} photos took {seconds:.1f} s'
    more = max(_used(device) - before, 0) * cfg.train_dataloader.batch_size // size
    return Speed(steps * size / seconds, source, before + more)


def _wait(device: str) -> None:
    import torch

    if device == 'cuda':
        torch.cuda.synchronize()


def _used(device: str) -> int:
    """Peak memory so far in bytes."""
    import torch

    if device == 'cuda':
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == 'darwin' else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
