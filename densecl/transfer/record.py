"""Reads how a checkpoint was trained: stem, style, normalisation, method."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

import densecl
from densecl.inputs import parse_config

from .dialects import depth_of, is_resnet, stem_of
from .prefixes import BRANCHES
from .read import Weights
from .vit_settings import vit_record

FORMAT = 'densecl-backbone'


def training_record(weights: Weights, backbone: dict[str, Tensor], branch: str) -> dict[str, Any]:
    """The record that is stored in an export, as data for JSON.

    Args:
        weights: the checkpoint as read; its config text is parsed, never executed.
        backbone: the backbone's tensors, without prefix; depth and stem are taken from them.
        branch: ``online`` or ``target``.

    Returns:
        Keys ``format``, ``branch``, ``backbone``, ``depth``, ``stem``, ``style``, ``out_indices``,
        ``channel_order``, ``mean``, ``std`` (0..255 scale), ``method``, ``config_name``, ``epoch``,
        ``iter``, ``densecl_version`` and ``config`` (the text). Unknown values are None. For a vision
        transformer also the keys of :func:`densecl.transfer.vit_settings.vit_record`. About the weights that
        the training started from: ``start`` (``name``, ``origin``, ``licence``, ``sha256``), and again
        ``origin`` and ``licence``, as the licence also applies to weights made from them. ``teachers``: head
        -> the same about its teacher. ``manifest``: the hash of the list of photos.
    """
    if weights.meta.get('format') == FORMAT:
        return {**weights.meta, 'branch': weights.meta.get('branch', branch)}
    text = weights.meta.get('cfg')
    config = parse_config(text)
    model = config.get('model') or {}
    said = (config.get('start'), weights.meta.get('start'))  # in a config it may be only the name
    start = next((one for one in said if isinstance(one, dict)), None)
    return {
        'format': FORMAT,
        'branch': branch,
        **_backbone_record(model.get('backbone') or {}, backbone),
        **_image_record(model, config),
        'method': _method_record(model),
        'config_name': weights.meta.get('experiment_name'),
        'epoch': weights.meta.get('epoch'),
        'iter': weights.meta.get('iter'),
        'densecl_version': densecl.__version__,
        'config': text if isinstance(text, str) else None,
        'start': start,
        'teachers': weights.meta.get('teachers') or None,
        'manifest': config.get('manifest'),
        **{key: (start or {}).get(key) for key in ('origin', 'licence')},
    }


def start_record(weights: Weights) -> dict[str, Any]:
    """Name, origin, licence and hash of these weights, for the records of everything made from them."""
    said = {key: weights.meta.get(key) for key in ('name', 'origin', 'licence', 'sha256')}
    return said | {'name': said['name'] or Path(weights.source).name}


def evaluated_branch(weights: Weights) -> str:
    """The branch that the method evaluates: an export's own branch, or its config's
    ``model.export_branch``; by default ``online``."""
    model = parse_config(weights.meta.get('cfg')).get('model') or {}
    said = weights.meta.get('branch') or model.get('export_branch')
    return said if said in BRANCHES else 'online'


def decoder_config(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Config of the decoder in a whole config; None for 8-bit RGB."""
    loader = config.get('train_dataloader') or {}
    return (loader.get('dataset') or {}).get('decoder') or None


def build_decoder(config: Mapping[str, Any]) -> Callable | None:
    """The decoder of a whole config, such as a :class:`densecl.datasets.SensorDecoder`; None for 8-bit
    RGB."""
    from densecl.registry import TRANSFORMS

    decoder = decoder_config(config)
    return TRANSFORMS.build(decoder) if decoder else None


def _backbone_record(config: dict, tensors: dict[str, Tensor]) -> dict[str, Any]:
    resnet = is_resnet(tensors)
    style = config.get('style', 'pytorch' if config else None)
    return {
        'backbone': config.get('type'),
        'depth': depth_of(tensors) if resnet else config.get('depth'),
        'stem': stem_of(tensors) if resnet else None,
        'style': style if resnet else None,
        'out_indices': list(config['out_indices']) if config.get('out_indices') else None,
        **vit_record(config, tensors),
    }


def _image_record(model: dict, whole: dict) -> dict[str, Any]:
    """Channel order (for three channels) and normalisation; pretraining decodes images to RGB."""
    old = whole.get('img_norm_cfg') or {}  # mm before version 3
    config = model.get('data_preprocessor') or {**old, 'bgr_to_rgb': old.get('to_rgb')}
    if model.get('heads'):  # a pretrainer: missing settings have the class's defaults
        from densecl.models.data_preprocessors import PretrainDataPreprocessor

        parameters = inspect.signature(PretrainDataPreprocessor).parameters
        config = {name: parameters[name].default for name in ('mean', 'std')} | config
    if not config.get('mean'):
        return {'channel_order': None, 'mean': None, 'std': None}
    record = {name: [float(value) for value in config[name]] for name in ('mean', 'std')}
    swapped = config.get('bgr_to_rgb') or config.get('rgb_to_bgr')
    order = 'RGB' if model.get('heads') or swapped else 'BGR'
    return {'channel_order': order if len(record['mean']) == 3 else None, **record}


def _method_record(model: dict) -> dict[str, Any] | None:
    if not model:
        return None
    heads = {name: _choices(head or {}) for name, head in (model.get('heads') or {}).items()}
    return {'pretrainer': model.get('type'), 'momentum': model.get('momentum'), 'heads': heads}


def _choices(head: dict) -> dict[str, Any]:
    """The names of a head's units, matching and objective."""
    fields = {'units': 'Image', 'matching': 'SameRow', 'objective': None}
    return {field: _names(head.get(field, default)) for field, default in fields.items()}


def _names(config) -> Any:
    """The type of a part, of each part in a list, or of each kind's part in a dict."""
    if isinstance(config, list | tuple):
        return [_names(part) for part in config]
    if isinstance(config, dict) and 'type' not in config:
        return {kind: _names(part) for kind, part in config.items()}
    return config['type'] if isinstance(config, dict) else config
