"""Writes the config of a stock mmdet or mmseg model for a start and the user's labelled images."""

import shlex
from pathlib import Path
from typing import Any

import densecl
from densecl.files import write_text
from densecl.models.necks import USUAL_STRIDES, pyramid_strides
from densecl.settings.config_text import in_docstring, source_of
from densecl.settings.record import Setting, settings_table

from .backbones import Levels, last_level, pyramid_levels
from .data import LabelledData, read_data
from .settings import Wishes, derive, paced
from .start import StartFile, read_start
from .templates import DETECTION, HEAD, SEMANTIC, TRAINING

_RUNTIME = {'mmdet': 'mmdet::_base_/default_runtime.py', 'mmseg': 'mmseg::_base_/default_runtime.py'}
_MODELS = {  # (label maps, transformer, size) -> file of configs/_base_/models
    (False, False, 'slim'): 'mask-rcnn_r18_fpn_slim',
    (False, False, 'full'): 'mask-rcnn_r50_fpn-bn',
    (False, True, 'slim'): 'mask-rcnn_vit_simple-pyramid_slim',
    (False, True, 'full'): 'mask-rcnn_vit-small_simple-pyramid',
    (True, False, 'slim'): 'fcn_r18-d16_slim',
    (True, False, 'full'): 'fcn_r50-d16',
    (True, True, 'slim'): 'fcn_r18-d16_slim',
    (True, True, 'full'): 'fcn_r50-d16',
}
_TITLES = {'detection': 'Faster R-CNN', 'instance': 'Mask R-CNN', 'semantic': 'FCN'}


def write_config(
    start: str | Path,
    data: str | Path,
    out: str | Path,
    task: str | None = None,
    size: str | None = None,
    val: str | Path | None = None,
    images: str | Path | None = None,
    share: float = 1.0,
    class_agnostic: bool = False,
    iters: int | None = None,
    minutes: float | None = None,
    batch: int | None = None,
    lr: float | None = None,
    seed: int = 0,
    amp: str | None = None,
) -> Path:
    """Write ``out/config.py``, which ``tools/train.py`` runs, and print its settings with their reasons.

    Args:
        start: folder of a run, a checkpoint, an export, or a name for :func:`densecl.transfer.find_start`.
        data: COCO json (boxes: Faster R-CNN; masks: Mask R-CNN) or a folder with ``images/`` and ``labels/``
            (PNG of class ids: FCN); see :func:`densecl.finetune.data.read_data`.
        out: folder for the config and all other output.
        task: ``detection``, ``instance`` or ``semantic``; by default it follows from the labels.
        size: ``slim`` (for a CPU) or ``full``; by default ``full`` if there is a GPU.
        val: json or folder for validation; by default a part of ``data``.
        images: folder of the images, if they are not beside the json or in ``images/``.
        share: share of the training images to use, evenly spread over their names.
        class_agnostic: find objects of any category, as one class ``object``.
        iters: length of the training in iterations.
        minutes: length of the training in minutes; a few steps are timed.
        batch, lr: images per step; AdamW's learning rate for the new layers.
        seed: seed of the order of images and of new layers.
        amp: ``'bf16'`` or ``'fp16'`` (on a GPU) trains in mixed precision.

    Returns:
        The path of the config.

    Raises:
        FileNotFoundError, ValueError: one line that names the file, field or argument.
    """
    import torch

    from densecl.engine.launch import amp_wrapper

    if minutes is not None and iters is not None:
        raise ValueError('give iters or minutes, not both')
    out, wrapper = Path(out), amp_wrapper(amp)
    labelled = read_data(data, out, val, images, task, share, class_agnostic)
    source = read_start(start, out)
    wishes = Wishes(size, iters, batch, lr, seed)
    settings = derive(labelled, source, wishes, torch.cuda.is_available())
    path = out / 'config.py'
    write_text(path, config_text(path, data, labelled, source, settings, seed, wrapper))
    if minutes is not None:
        from .speed import iters_in

        found, reason = iters_in(path, minutes)
        settings['iters'] = Setting('iters', found, reason)
        settings |= paced(found)
        write_text(path, config_text(path, data, labelled, source, settings, seed, wrapper))
    print('\n'.join([*labelled.notes, _table(settings), f'config: {path}']), flush=True)
    return path


def config_text(
    path: Path,
    data: str | Path,
    labelled: LabelledData,
    start: StartFile,
    settings: dict[str, Setting],
    seed: int = 0,
    wrapper: str = 'OptimWrapper',
) -> str:
    """The config as text."""
    value = {name: setting.value for name, setting in settings.items()}
    semantic, size = labelled.task == 'semantic', value['size']
    levels = last_level(start) if semantic else pyramid_levels(start, size)
    model = _MODELS[semantic, levels.transformer, size]
    base = [
        _RUNTIME['mmseg' if semantic else 'mmdet'],
        f'densecl::_base_/models/{model}.py',
    ]
    head = HEAD.format(
        title=f'{_TITLES[labelled.task]} ({size})',
        data=in_docstring(data),
        start=in_docstring(start.title),
        version=densecl.__version__,
        path=in_docstring(shlex.quote(str(path))),
        settings=in_docstring('\n'.join([*labelled.notes, _table(settings)])),
        base=source_of(base),
    )
    names = ''.join(f'{name} = {source_of(x)}\n' for name, x in _names(labelled, start, value, seed).items())
    body = _semantic(labelled, start, levels) if semantic else _detection(labelled, start, levels)
    figure = 'mIoU' if semantic else 'coco/bbox_mAP' if labelled.task == 'detection' else 'coco/segm_mAP'
    return head + names + body + TRAINING.format(figure=figure, wrapper=wrapper)


def _names(data: LabelledData, start: StartFile, value: dict[str, Any], seed: int) -> dict[str, Any]:
    """The names at the beginning of the config."""
    parts = {'train': data.train, 'val': data.val}
    files = {f'{name}_file': str(part.list_file) for name, part in parts.items()}
    files |= {f'{name}_images': f'{part.images}/' for name, part in parts.items()}
    files |= {f'{name}_labels': f'{part.labels}/' for name, part in parts.items() if part.labels}
    kind = start.decoder and f'densecl.{start.decoder["type"].split(".")[-1]}'
    decoder = {'decoder': {**start.decoder, 'type': kind}} if start.decoder else {}
    crop = {'crop_size': value['crop_size']} if 'crop_size' in value else {}
    return {
        'weights': str(start.file),
        **decoder,
        **files,
        'classes': data.classes,
        'palette': [list(color) for color in data.palette],
        'image_scale': value['image_scale'],
        **crop,
        'batch_size': value['batch'],
        'num_workers': 1 if value['size'] == 'slim' else 4,
        'max_iters': value['iters'],
        'val_interval': value['val_interval'],
        'heads_first': value['heads_first'],
        'norm_eval': value['norm_eval'],
        'lr': value['lr'],
        'backbone_lr_mult': value['backbone_lr_mult'],
        'seed': seed,
    }


def _detection(data: LabelledData, start: StartFile, levels: Levels) -> str:
    masks = data.task == 'instance'
    if levels.transformer:
        neck = dict(in_channels=levels.channels[0], stride=levels.strides[0])
        strides = pyramid_strides(levels.strides[0])
    else:
        neck, strides = dict(in_channels=list(levels.channels)), USUAL_STRIDES
    return DETECTION.format(
        detector='MaskRCNN' if masks else 'FasterRCNN',
        **_images(start, 'mmdet.DetDataPreprocessor'),
        masks=masks,
        backbone=source_of({'_delete_': True, **levels.config}).replace('\n', '\n    '),
        neck=source_of(neck),
        **(dict(rpn='', regions='') if strides == USUAL_STRIDES else _readers_of(strides, masks)),
        mask_head='mask_head=dict(num_classes=len(classes))'
        if masks
        else 'mask_roi_extractor=None, mask_head=None',
        metric=['bbox', 'segm'] if masks else ['bbox'],
    )


def _readers_of(strides: tuple[float, ...], masks: bool) -> dict[str, str]:
    """Settings of the heads for levels with unusual strides."""
    read = f'dict(featmap_strides={list(strides[:4])})'
    kinds = ('bbox', 'mask')[: 1 + masks]
    return {
        'rpn': f'\n    rpn_head=dict(anchor_generator=dict(strides={list(strides)})),',
        'regions': ''.join(f'{kind}_roi_extractor={read}, ' for kind in kinds),
    }


def _semantic(data: LabelledData, start: StartFile, levels: Levels) -> str:
    return SEMANTIC.format(
        **_images(start, 'mmseg.SegDataPreProcessor'),
        backbone=source_of({'_delete_': True, **levels.config}).replace('\n', '\n    '),
        channels=levels.channels[0],
        suffixes=data.suffixes,
    )


def _images(start: StartFile, preprocessor: str) -> dict[str, Any]:
    """How images are read and normalised: as in pretraining."""
    if not start.decoder:
        load = "dict(type='LoadImageFromFile')"  # BGR
        how = f'bgr_to_rgb={start.record.get("channel_order") != "BGR"}'
    else:
        load = source_of({**start.decoder, 'type': 'densecl.LoadSensorImage'})
        how = f"_delete_=True, type='densecl.SensorDataPreprocessor', base='{preprocessor}'"
    return {'load': load, 'preprocessor': how, 'mean': start.mean, 'std': start.std}


def _table(settings: dict[str, Setting]) -> str:
    """The table of settings; sizes are written as ``320 x 240``."""
    rows = settings.values()
    shown = (' x '.join(map(str, s.value)) if isinstance(s.value, tuple) else s.value for s in rows)
    return settings_table(Setting(s.name, value, s.reason) for s, value in zip(rows, shown, strict=True))
