"""The line that a pretraining run prints."""

import datetime

from mmengine.runner import LogProcessor

from densecl.distributed import world_size
from densecl.registry import LOG_PROCESSORS

#: Values that have their own place in the line.
_PLACED = {'epoch', 'iter', 'time', 'data_time', 'images_per_s', 'data_wait', 'loss', 'grad_norm'}
_PLACED |= {'lr', 'base_lr', 'memory'}


@LOG_PROCESSORS.register_module()
class PretrainLogProcessor(LogProcessor):
    """The printed line has: progress, time left, images/s, share of time spent waiting for data, losses,
    gradient norm before clipping, and diagnostics.

    ``images_per_s`` and ``data_wait`` (0..1) also go to TensorBoard, wandb and the json log.

    Args:
        printed: number of diagnostics that a line shows. A method with several levels has dozens. All of
            them are in the json log; the line says how many it left out.
        **kwargs: arguments of mmengine's ``LogProcessor``.
    """

    def __init__(self, printed: int = 24, **kwargs) -> None:
        # grad_norm has one value per interval: mmengine's mean would cover window_size intervals.
        kwargs.setdefault('mean_pattern', '.*(loss|time).*')
        super().__init__(**kwargs)
        self.printed = printed

    def get_log_after_iter(self, runner, batch_idx: int, mode: str) -> tuple[dict, str]:
        """The logged values and the printed line; as mmengine's in modes other than ``'train'``."""
        tag, line = super().get_log_after_iter(runner, batch_idx, mode)
        if mode != 'train':
            return tag, line
        if 'time' in tag:
            images = runner.train_dataloader.batch_size * world_size()
            tag['images_per_s'] = images / max(tag['time'], 1e-9)
            tag['data_wait'] = tag['data_time'] / max(tag['time'], 1e-9)
        return tag, _line(runner, tag, batch_idx, self.printed)


def _line(runner, tag: dict, batch_idx: int, printed: int) -> str:
    done = 100 * (runner.iter + 1) / runner.max_iters
    parts = [
        f'epoch {tag.get("epoch", runner.epoch + 1)}/{runner.max_epochs}'
        f' [{batch_idx + 1}/{len(runner.train_dataloader)}] {done:.1f} %'
    ]
    if 'eta' in runner.message_hub.runtime_info:
        parts[0] += f' eta {datetime.timedelta(seconds=int(runner.message_hub.get_info("eta")))}'
    if 'images_per_s' in tag:
        parts.append(f'{tag["images_per_s"]:.0f} img/s, data wait {tag["data_wait"]:.0%}')
    parts.append(f'lr {tag["lr"]:.2e}')
    losses = [k for k in tag if k.startswith('loss_')]
    terms = ' '.join(f'{k.removeprefix("loss_")} {tag[k]:.4f}' for k in losses)
    if 'loss' in tag:
        parts.append(f'loss {tag["loss"]:.4f}' + (f' ({terms})' if len(losses) > 1 else ''))
    if 'grad_norm' in tag:
        parts.append(f'grad_norm {_short(tag["grad_norm"])}')
    rest = [k for k in tag if k not in _PLACED and k not in losses]
    if rest:
        shown = ' '.join(f'{k} {_short(tag[k])}' for k in rest[:printed])
        more = len(rest) - printed
        parts.append(shown + (f' (and {more} in scalars.json)' if more > 0 else ''))
    if 'memory' in tag:
        parts.append(f'{tag["memory"]} MB')
    return ' | '.join(parts)


def _short(value) -> str:
    return f'{value:.3g}' if isinstance(value, float) else str(value)
