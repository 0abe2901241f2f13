"""Finds how many iterations fit into some minutes, by timing real steps of a config."""

import statistics
import time
from pathlib import Path

_STEPS = 4
_LEAST = 20  # smallest useful number of iterations
_SHARE = 0.85  # share of the minutes for iterations; loading and validation take the rest


def iters_in(config: Path, minutes: float) -> tuple[int, str]:
    """Number of iterations that this machine makes in ``minutes``, and the reason as text.

    Raises:
        ValueError: fewer than twenty fit.
    """
    seconds = seconds_per_step(config)
    iters = int(_SHARE * 60 * minutes / seconds)
    if iters < _LEAST:
        least = _LEAST * seconds / 60 / _SHARE
        raise ValueError(
            f'minutes={minutes:g}: a step takes {seconds:.1f} s here; at least {least:.2f} minutes are needed'
        )
    return iters, f'{minutes:g} minutes; a step takes {seconds:.2f} s here (median of {_STEPS - 1})'


def seconds_per_step(config: Path) -> float:
    """Median time of a training step with the whole model, data included; the first step does not count."""
    import torch
    from mmengine.optim import build_optim_wrapper
    from mmengine.registry import MODELS, init_default_scope
    from mmengine.runner import Runner

    from densecl.engine import launch

    cfg = launch.read_config(str(config))
    init_default_scope(cfg.default_scope)
    launch.use_plain_batch_norm(cfg._cfg_dict)
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    model = MODELS.build(cfg.model).to(device).train()
    wrapper = {key: value for key, value in cfg.optim_wrapper.items() if key != 'paramwise_cfg'}
    wrapper = build_optim_wrapper(model, wrapper)  # groups of parameters would fill the screen
    loader = iter(Runner.build_dataloader(cfg.train_dataloader, seed=0))
    times = []
    for _ in range(_STEPS):
        begin = time.perf_counter()
        data = model.data_preprocessor(next(loader), training=True)
        with wrapper.optim_context(model):
            loss, _ = model.parse_losses(model(**data, mode='loss'))
        wrapper.update_params(loss)
        loss.item()
        times.append(time.perf_counter() - begin)
    return statistics.median(times[1:])
