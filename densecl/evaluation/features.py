"""Features of a frozen backbone: loads the backbone from a checkpoint and encodes images with it."""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.utils.data import DataLoader

from densecl.datasets import PretrainDataset, collate_views
from densecl.datasets.transforms import CentreCrop
from densecl.inputs import parse_config
from densecl.registry import MODELS
from densecl.transfer import backbone_features, load_backbone, read_weights
from densecl.transfer.check import IMAGENET
from densecl.transfer.record import build_decoder, training_record


class FrozenEncoder(nn.Module):
    """A backbone that turns decoded images into one vector each.

    An image is uint8 RGB, or has the channels and the type (uint8, uint16, float32) of ``decoder``'s output.

    The vector comes from the last level: a class token itself, or the mean of a map over its cells.

    Args:
        backbone: returns a tensor, or a tuple of levels, (B, C, H, W) or (B, C). If the last level is a pair
            of map and class token, the token is used.
        record: ``mean``, ``std`` (0..255) and ``channel_order`` of the images in training. Missing or None
            values are ImageNet's, in RGB. Their length is the number of channels of an image.
        decoder: reads images as in training; None for 8-bit RGB. Stored here for code that reads images.
    """

    def __init__(
        self,
        backbone: nn.Module,
        record: dict[str, Any] | None = None,
        decoder: Callable | None = None,
    ) -> None:
        super().__init__()
        record = record or {}
        self.backbone, self.decoder = backbone, decoder
        self.bgr = record.get('channel_order') == 'BGR'
        for name, usual in IMAGENET.items():
            value = torch.tensor(record.get(name) or usual).view(1, -1, 1, 1)
            self.register_buffer(name, value, persistent=False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """(B, H, W, channels) -> (B, C) float32; always in eval mode."""
        last = backbone_features(self.backbone, self.normalised(images), tokens=True)[-1]
        last = last if isinstance(last, Tensor) else last[-1]
        return last.flatten(2).mean(2) if last.ndim > 2 else last

    @torch.no_grad()
    def maps(self, images: Tensor, level: int = -1) -> Tensor:
        """The map of one level, without class token: (B, H, W, channels) -> (B, C, h, w) float32.

        Always in eval mode. The images may have any size that the backbone takes.

        Raises:
            ValueError: no such level, or the images have another number of channels.
        """
        levels = backbone_features(self.backbone, self.normalised(images))
        if not -len(levels) <= level < len(levels):
            raise ValueError(f'there is no level {level}: this backbone returns {len(levels)}')
        return levels[level].float()

    def normalised(self, images: Tensor) -> Tensor:
        """(B, H, W, channels) -> (B, channels, H, W) as the backbone takes them, on its device."""
        if images.shape[3] != self.mean.shape[1]:
            raise ValueError(
                f'the images have {images.shape[3]} channels, the backbone was trained on '
                f'{self.mean.shape[1]}'
            )
        planes = images.permute(0, 3, 1, 2).to(self.mean.device, torch.float32)
        planes = planes.flip(1) if self.bgr else planes
        return (planes - self.mean) / self.std


def dense_features(
    encoder: FrozenEncoder, batches: Iterable[Tensor], level: int = -1, count: int | None = None
) -> Tensor:
    """Maps of many images of one size, in half precision.

    Args:
        encoder: see :meth:`FrozenEncoder.maps`.
        batches: each (B, H, W, channels) as the encoder takes them.
        level: the backbone's level to use.
        count: number of images. If it is given, the maps stay on the encoder's device if they fit into a
            quarter of its free memory. Otherwise, and by default, they are collected on the CPU.

    Returns:
        (N, C, h, w) float16. Values beyond its range, 65,504, are clipped.
    """
    limit, kept, device = torch.finfo(torch.float16).max, [], None
    for batch in batches:
        maps = encoder.maps(batch, level).clamp(-limit, limit).half()
        device = device or _roomy_device(maps, count)
        kept.append(maps.to(device))
    return torch.cat(kept)


def _roomy_device(maps: Tensor, count: int | None) -> torch.device:
    """The device of these maps if ``count`` such images fit there, else the CPU."""
    if count is None or maps.device.type != 'cuda':
        return torch.device('cpu')
    needed = count * maps[0].numel() * maps.element_size()
    return maps.device if 4 * needed <= torch.cuda.mem_get_info(maps.device)[0] else torch.device('cpu')


def random_encoder(config: dict, seed: int = 0) -> FrozenEncoder:
    """The backbone of a whole config (``model.backbone``), freshly initialised with ``seed``."""
    torch.manual_seed(seed)
    backbone = build_offline(config['model']['backbone'])
    logging.disable(logging.INFO)  # mmengine logs every tensor
    try:
        if hasattr(backbone, 'init_weights'):
            backbone.init_weights()
    finally:
        logging.disable(logging.NOTSET)
    return FrozenEncoder(backbone, config['model'].get('data_preprocessor'), build_decoder(config))


def load_encoder(checkpoint: str | Path, branch: str = 'auto', config: dict | None = None) -> FrozenEncoder:
    """The backbone of a pretraining checkpoint or of an export.

    Args:
        checkpoint: the file; see :func:`densecl.transfer.read_weights`.
        branch: ``online``, ``target``, or ``auto``: online if there are both.
        config: a whole config, with ``model.backbone``; None: the one in the file. If the config has a
            decoder, images are read and normalised as it says; the stem of RGB weights is then inflated.

    Raises:
        ValueError: there is no config to build the backbone from, or no such branch.
        RuntimeError: the tensors do not fit the backbone.
    """
    weights = read_weights(checkpoint)
    record = training_record(weights, weights.tensors, branch)
    config = parse_config(record.get('config')) if config is None else config
    backbone_config = (config.get('model') or {}).get('backbone')
    if not backbone_config:
        raise ValueError(f'{checkpoint} carries no config to build its backbone from; give one')
    scope = config.get('default_scope')
    if scope in ('mmdet', 'mmseg') and '.' not in backbone_config['type']:  # of a fine-tuning
        backbone_config = {**backbone_config, 'type': f'{scope}.{backbone_config["type"]}'}
    backbone = build_offline(backbone_config)
    report = load_backbone(backbone, weights, branch)
    print_log(str(report), 'current')
    decoder = build_decoder(config)
    return FrozenEncoder(backbone, config['model'].get('data_preprocessor') if decoder else record, decoder)


def open_encoder(
    what: str | Path, branch: str = 'auto', config: dict | None = None, **options
) -> FrozenEncoder:
    """Open any trained backbone, from a checkpoint or from weights of another project.

    Args:
        what: a file, or a name that :func:`densecl.transfer.find_start` knows.
        branch: see :func:`load_encoder`.
        config: a whole config whose backbone is built; by default the file's config, or the recognised
            network.
        **options: settings of a recognised backbone, such as ``output_stride=16``.

    Raises:
        FileNotFoundError: there is no such file or name.
        ValueError: the network is not known, or ``options`` are given for a file with its own config.
    """
    if config is None and not carries_config(what):
        from densecl.transfer import find_start

        start = find_start(what)
        return FrozenEncoder(start.build(**options), dict(mean=start.mean, std=start.std))
    if options:
        raise ValueError(f'{what} says how its backbone is built; give a config, not {sorted(options)}')
    return load_encoder(what, branch, config)


def carries_config(what: str | Path) -> bool:
    """Whether this is a file that has its backbone's config."""
    if not Path(what).is_file():
        return False
    weights = read_weights(what)
    record = training_record(weights, weights.tensors, 'online')
    return bool((parse_config(record.get('config')).get('model') or {}).get('backbone'))


def build_offline(config: dict) -> nn.Module:
    """Build a module from a config, without its initial weights and without blocks only for pretraining.

    mm's backbones name a file of weights in ``pretrained``; a bool there has another meaning.
    """
    names = ['init_cfg', 'class_path']
    if isinstance(config.get('pretrained'), str):
        names.append('pretrained')
    return MODELS.build(Config({k: v for k, v in config.items() if k not in names})._cfg_dict)


def labelled_images(
    root: str | Path, list_file: str | None = None, size: int = 224, decoder: Callable | None = None
) -> PretrainDataset:
    """Centre crops of images with labels.

    Args:
        root: a folder with one folder per class, or the folder that the paths of ``list_file`` are relative
            to.
        list_file: a text file with a path and a class id in each line.
        size: side of the crops in pixels.
        decoder: the encoder's decoder; None reads 8-bit RGB.

    Raises:
        ValueError: an image has no label.
    """
    source = dict(type='ListFile', list_file=list_file) if list_file else dict(type='ImageNet')
    # Large JPEGs are decoded at a smaller size, but with at least twice the pixels of the crop.
    least = None if decoder else max(1, round(2 * size / 0.875))
    dataset = PretrainDataset(
        root, source, pipeline=[CentreCrop(size)], decode_min_side=least, decoder=decoder
    )
    labels = [dataset.source.label(i) for i in range(len(dataset))]
    if None in labels or min(labels) < 0:
        raise ValueError(
            f'{list_file} must give every image a class id of 0 or more: a path, a space and the id'
        )
    return dataset


def extract_features(
    encoder: FrozenEncoder, dataset: PretrainDataset, batch_size: int = 64, workers: int = 0
) -> tuple[Tensor, Tensor]:
    """Features (N, C) float32 and labels (N,) int64 of a whole data set, in its order, on the CPU."""
    loader = DataLoader(dataset, batch_size, num_workers=workers, collate_fn=collate_views)
    batches = (batch['inputs'] for batch in loader)
    pairs = [(encoder(views.images[0]).float().cpu(), views.labels) for views in batches]
    features, labels = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    return features, labels
