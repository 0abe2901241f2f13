"""Settings of a fine-tuning, each with its reason."""

import statistics
from dataclasses import dataclass

from densecl.messages import check_choice
from densecl.settings.record import Setting

from .data import LabelledData
from .start import StartFile

LEAST_ITERS = 10
SIZES = ('slim', 'full')
_LONGEST = {'slim': 320, 'full': 1333}
_CROP = {'slim': 224, 'full': 512}
_BATCH = {('slim', False): 4, ('full', False): 8, ('slim', True): 4, ('full', True): 16}
_LEAST, _MOST = {'slim': 200, 'full': 1000}, {'slim': 2000, 'full': 24_000}
_EPOCHS = 12
_SMALL_OBJECT = 16  # pixels; a detector's finest cell has 4 or 8


@dataclass(frozen=True)
class Wishes:
    """The user's wishes; the rules decide values that are None."""

    size: str | None = None
    iters: int | None = None
    batch: int | None = None
    lr: float | None = None
    seed: int = 0


def derive(data: LabelledData, start: StartFile, wishes: Wishes, gpu: bool) -> dict[str, Setting]:
    """All settings by name, in the order in which they are decided.

    Raises:
        ValueError: ``size`` is none of ``SIZES``, or ``iters`` too small.
    """
    size = wishes.size or ('full' if gpu else 'slim')
    check_choice('size', size, SIZES)
    why = 'as you asked' if wishes.size else 'there is a GPU' if gpu else 'there is no GPU'
    found = [Setting('task', data.task, _TASKS[data.task]), Setting('size', size, why), _scale(data, size)]
    if data.task == 'semantic':
        found.append(_crop(data, size, found[-1].value))
    if wishes.iters is not None and wishes.iters < LEAST_ITERS:
        raise ValueError(f'iters must be at least {LEAST_ITERS}, got {wishes.iters}')
    batch = wishes.batch or _BATCH[size, data.task == 'semantic']
    batch = min(batch, len(data.train.sizes))
    iters = wishes.iters or _iters(size, len(data.train.sizes), batch).value
    found += [
        Setting(
            'batch',
            batch,
            'as you asked' if wishes.batch else f'what a {size} model of this task is made for',
        ),
        Setting('iters', iters, 'as you asked')
        if wishes.iters
        else _iters(size, len(data.train.sizes), batch),
        _lr(size, wishes),
        _backbone_lr(start),
        Setting('norm_eval', start.from_scratch is False, _NORM[start.from_scratch]),
    ]
    return {setting.name: setting for setting in found} | paced(iters)


_TASKS = {
    'detection': 'boxes without masks: Faster R-CNN',
    'instance': 'boxes with masks: Mask R-CNN',
    'semantic': 'label maps: FCN',
}
_NORM = {
    True: 'batch statistics are trained: those of a pretraining from random weights move on',
    False: 'batch statistics are held: few images a step would replace good ones by noise',
}


def _scale(data: LabelledData, size: str) -> Setting:
    """Longest and shortest side of the images, in pixels."""
    width, height = data.train.size
    longest, shortest = max(width, height), min(width, height)
    factor = min(1.0, _LONGEST[size] / longest, 800 / shortest)
    reason = f'the images are {width} x {height} (median)'
    reason += (
        ': their own size' if factor == 1 else f'; {_LONGEST[size]} is the most that a {size} model takes'
    )
    if data.train.sides:
        small = (
            statistics.quantiles(data.train.sides, n=10)[0]
            if len(data.train.sides) > 1
            else data.train.sides[0]
        )
        if factor < 1 and small * factor < _SMALL_OBJECT:
            factor = min(1.0, _SMALL_OBJECT / small, 2 * factor)
            reason += f', but a tenth of the objects is under {small:.0f} pixels wide'
    return Setting('image_scale', (round(longest * factor), round(shortest * factor)), reason)


def _crop(data: LabelledData, size: str, scale: tuple[int, int]) -> Setting:
    side = max(min(_CROP[size], scale[1] // 16 * 16), 32)
    return Setting('crop_size', (side, side), 'random crops of it, from images scaled by 0.75 to 1.5')


def _iters(size: str, images: int, batch: int) -> Setting:
    wanted = round(_EPOCHS * images / batch)
    value = min(max(wanted, _LEAST[size]), _MOST[size])
    limits = '' if value == wanted else f', within {_LEAST[size]:,} and {_MOST[size]:,} of a {size} model'
    return Setting('iters', value, f'{_EPOCHS} epochs of {images:,} images{limits}')


def _lr(size: str, wishes: Wishes) -> Setting:
    if wishes.lr:
        return Setting('lr', wishes.lr, 'as you asked')
    value = 1e-3 if size == 'slim' else 2e-4
    return Setting('lr', value, f'AdamW, for the new layers of a {size} model')


def _backbone_lr(start: StartFile) -> Setting:
    if start.from_scratch:
        return Setting(
            'backbone_lr_mult', 0.25, 'pretrained from random weights: the backbone has more to learn'
        )
    return Setting('backbone_lr_mult', 0.1, 'strong weights: large steps of the backbone lose what they know')


def paced(iters: int) -> dict[str, Setting]:
    """Settings that follow from the number of iterations."""
    often = iters >= 1000
    why = 'four times a run, and the best is kept' if often else 'a short run is validated at its end'
    waits = 'the backbone waits until new layers give it a direction'
    found = [
        Setting('heads_first', min(200, iters // 4), waits),
        Setting('val_interval', iters // 4 if often else iters, why),
    ]
    return {setting.name: setting for setting in found}
