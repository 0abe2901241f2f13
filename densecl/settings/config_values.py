"""Translates settings into changes of a run's base configs."""

import os
from collections.abc import Mapping
from typing import Any

from .config_text import Source
from .record import Setting

Found = Mapping[str, Setting]


def shared_values(found: Found, recipe, photos: list[str], folder: str, gpu: bool) -> dict[str, Any]:
    """Values for data, length, files and precision, which do not depend on the start.

    Args:
        found: the settings.
        recipe: the method's config, which is the run's base.
        photos: folders of photos.
        folder: folder of the run.
        gpu: run the photometric operators on the GPU.
    """
    batch, steps = found['batch'].value, found['steps'].value
    count = found['photos'].value
    epochs, used = in_epochs(steps, count, batch)
    dataset = dict(data_root=photos[0] if len(photos) == 1 else photos, on_error='skip')
    if used < count:
        dataset['max_images'] = used
    dataset['pipeline'] = [_pipeline(gpu)]
    loader = dict(batch_size=batch, num_workers=found['workers'].value, pin_memory=gpu, dataset=dataset)
    interval = found['checkpoint_interval'].value
    log = max(min(steps // 20, 20), 1)
    hooks = dict(
        logger=dict(interval=log),
        checkpoint=dict(interval=interval, by_epoch=False),
        collapse=dict(interval=log),
    )
    return {
        'work_dir': folder,
        'views': Source(_views(found, recipe)),
        'train_dataloader': loader,
        'epochs': epochs,
        'train_cfg': dict(max_epochs=Source('epochs')),
        'default_hooks': hooks,
        'auto_scale_lr': dict(base_batch_size=batch),
    }


def optimizer_values(found: Found) -> dict[str, Any]:
    """The optimizer wrapper: learning rate, and mixed precision if it is fast on the machine."""
    values = dict(optimizer=dict(lr=found['lr'].value))
    return dict(type='BF16OptimWrapper', **values) if found['precision'].value == 'bf16' else values


def head_values(found: Found, recipe) -> dict[str, Any]:
    """Queues and prototypes of a method's heads; without a queue, negatives come from the batch."""
    values = {}
    for name, head in recipe.model.heads.items():
        changes = {}
        if has_queue(head):
            size = found['queue'].value
            changes['objective'] = dict(queue=size) if size else dict(queue=0, batch='keys', decoupled=True)
        for part in with_prototypes(head):
            changes.setdefault(part, {})['prototypes'] = found['prototypes'].value
        if changes:
            values[name] = changes
    return values


def has_queue(head: Mapping) -> bool:
    """Whether a head's objective is contrastive with a queue."""
    objective = head.get('objective')
    return isinstance(objective, dict) and objective.get('type') == 'InfoNCE' and bool(objective.get('queue'))


def with_prototypes(head: Mapping) -> list[str]:
    """Fields of a head that set the number of prototypes."""
    fields = ((name, head.get(name)) for name in ('projector', 'objective'))
    return [
        name for name, part in fields if isinstance(part, dict) and isinstance(part.get('prototypes'), int)
    ]


def in_epochs(steps: int, photos: int, batch: int) -> tuple[int, int]:
    """Epochs, and the photos of each, that take no more than some steps and at least nine tenths of them.

    All photos are taken where whole epochs come near enough; else fewer.
    """
    an_epoch = max(photos // batch, 1)
    epochs = steps // an_epoch
    if epochs * an_epoch >= 0.9 * steps:
        return epochs, photos
    return epochs + 1, max(steps // (epochs + 1), 1) * batch


def _views(found: Found, recipe) -> str:
    """Source code of the views: the recipe's, at another size and with milder crops."""
    size = found['view_size'].value
    area = found['crop_area'].value if 'crop_area' in found else None
    first = recipe.views[0]['size']
    several = any('size' in view and view['size'] != first for view in recipe.views)
    changes = f"'size': round(v['size'] * {size} / {first} / 16) * 16" if several else f"'size': {size}"
    if area and not several:
        changes += f", 'scale': {area!r}"
    typed = any('type' in view for view in recipe.views)
    if typed:
        return '_base_.views'
    return f'[{{**v, {changes}}} for v in _base_.views]'


def _pipeline(gpu: bool) -> Source:
    where = ", photometric_on='device'" if gpu else ''
    return Source(f'dict(_base_.train_dataloader.dataset.pipeline[0], views=views{where})')


def relative(path: str | os.PathLike) -> str:
    """A path for a config: absolute, so that it is valid wherever the config runs."""
    return os.path.abspath(os.path.expanduser(os.fspath(path)))
