"""Zero-shot classification with an image and a text tower: classes of images, of boxes and of pixels."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from densecl.inputs import parse_config
from densecl.models.backbones.timm import TimmViT, value_features
from densecl.models.text import check_tokenizer
from densecl.numerics import full_precision, unit
from densecl.registry import TRANSFORMS
from densecl.transfer import read_weights
from densecl.transfer.check import backbone_features
from densecl.transfer.clip import MEAN, STD, Clip, is_clip, open_clip
from densecl.transfer.prefixes import under

from .box_retrieval import box_features
from .features import FrozenEncoder, build_offline, load_encoder
from .knn import class_accuracy
from .labelled import LabelledPart
from .segmentation import IGNORED, MeanIoU, confusion, enlarged_argmax, mean_iou

#: Default templates: texts about a class.
TEMPLATES = ('{}', 'a photo of {}', 'a photo of a {}', 'a photo of the {}')


class ImageText:
    """An image and a text tower with a common space of unit vectors.

    Args:
        encoder: image tower, see :class:`.FrozenEncoder`.
        projector: from a pooled level to the common space; or attention pooling, from the map itself.
        tower: text tower, (T, L) int64 -> (T, D).
        tokenizer: with ``encode(list[str]) -> (T, L) int64``.
        level: the backbone's level to use.
        values: for a ViT's class token: represent cells by the values of its last attention (MaskCLIP, Zhou
            et al., 2022, section 3.2) and not by the map. The token is a weighted mean of these values. With
            attention pooling the values are always used.
        size: side of the images that the model is made for, in pixels.
        notes: what was guessed about the file, and how to change it.
    """

    def __init__(
        self,
        encoder: FrozenEncoder,
        projector: nn.Module,
        tower: nn.Module,
        tokenizer,
        level: int = -1,
        values: bool = True,
        size: int = 224,
        notes: Sequence[str] = (),
    ) -> None:
        self.size, self.notes = size, notes
        self.encoder, self.tokenizer, self.level, self.values = encoder, tokenizer, level, values
        check_tokenizer(tower, tokenizer)
        self.projector, self.tower = projector.eval(), tower.eval()

    def to(self, device: str | torch.device) -> 'ImageText':
        """Move all parts to a device."""
        for part in (self.encoder, self.projector, self.tower):
            part.to(device)
        return self

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return self.encoder.mean.device

    @torch.no_grad()
    def texts(self, texts: Sequence[str], batch_size: int = 256) -> Tensor:
        """(T, D) unit vectors."""
        parts = [list(texts[i : i + batch_size]) for i in range(0, len(texts), batch_size)]
        return unit(torch.cat([self.tower(self.tokenizer.encode(part).to(self.device)) for part in parts]))

    @torch.no_grad()
    def images(self, images: Tensor) -> Tensor:
        """(B, H, W, channels), as :class:`.FrozenEncoder` takes them -> (B, D) unit vectors."""
        level = self._level(images)
        return unit(self.projector(level if self._pools else level.mean((2, 3))))

    @torch.no_grad()
    def cells(self, images: Tensor) -> Tensor:
        """(B, H, W, channels) -> (B, D, h, w) unit vectors; the projector is applied to each cell.

        For a pooled map and a linear projector, the image's vector is the mean of the cells' vectors before
        normalisation. For attention pooling it is a weighted mean of the values.

        Raises:
            ValueError: the level is the class token of a network with unknown patches; or ``values`` is False
                with attention pooling.
        """
        maps, backbone = self._level(images), self.encoder.backbone
        if self._pools:
            if not self.values:
                raise ValueError(
                    'zero-shot segmentation: a map that is pooled by attention has no texts to compare with, '
                    'its values have; leave --maps out'
                )
            return unit(self.projector.values(maps), dim=1)
        if maps.shape[2:] == (1, 1) and isinstance(backbone, TimmViT) and backbone.output_cls_token:
            pixels = self.encoder.normalised(images)
            read = value_features if self.values else lambda *given: backbone_features(*given)[-1]
            maps = read(backbone, pixels)
        elif maps.shape[2:] == (1, 1):
            raise ValueError(
                f'zero-shot segmentation: level {self.level} of {type(backbone).__name__} has one cell; take '
                'larger images, or a network that pools a map'
            )
        found = self.projector(maps.permute(0, 2, 3, 1).flatten(0, 2))
        return unit(found).unflatten(0, (len(maps), *maps.shape[2:])).permute(0, 3, 1, 2)

    @property
    def _pools(self) -> bool:
        return getattr(self.projector, 'reads_map', False)

    def _level(self, images: Tensor) -> Tensor:
        levels = backbone_features(self.encoder.backbone, self.encoder.normalised(images), tokens=True)
        level = full_precision(levels[self.level])
        return level if level.ndim == 4 else level[..., None, None]


def classifier(
    encode: Callable[[Sequence[str]], Tensor], classes: Sequence[str], templates: Sequence[str] = TEMPLATES
) -> Tensor:
    """A vector per class: its texts' unit vectors, averaged over the templates and normalised again.

    The ensemble of CLIP (Radford et al., 2021, section 3.1.4).

    Args:
        encode: texts -> (T, D).
        classes: K names.
        templates: texts with ``{}`` at the place of the name.

    Returns:
        (K, D) unit vectors.

    Raises:
        ValueError: no class, or a template without ``{}``.
    """
    odd = [text for text in templates if '{}' not in text]
    if odd or not templates or not classes:
        raise ValueError(
            f'templates need {{}} where the class goes, and there must be classes; got {odd[:1]}'
        )
    texts = [template.replace('{}', name) for name in classes for template in templates]
    return unit(unit(encode(texts)).unflatten(0, (len(classes), len(templates))).mean(1))


@torch.no_grad()
def classify(model: ImageText, batches: Iterable[Tensor], weights: Tensor) -> Tensor:
    """(N,) int64, the class with the nearest text for each image, from batches (B, H, W, channels)."""
    return torch.cat([(model.images(batch) @ weights.T).argmax(1).cpu() for batch in batches])


@dataclass(frozen=True)
class ZeroShotDense:
    """Zero-shot figures on a labelled set.

    Attributes:
        segmentation: intersection over union.
        boxes: accuracy of the classes of the true boxes, ``top1`` and ``mean_class``, in per cent; None
            without boxes.
        maps: label maps (N, H, W) int64 of the images that were ``shown``.
    """

    segmentation: MeanIoU
    boxes: dict[str, float] | None
    maps: Tensor | None


@torch.no_grad()
def segment(
    model: ImageText,
    part: LabelledPart,
    size: tuple[int, int],
    weights: Tensor,
    ids: Sequence[int],
    shown: Sequence[int] = (),
    batch_size: int = 8,
) -> ZeroShotDense:
    """Give every pixel the class with the nearest text, and score it by the protocol of the probes.

    Scores of cells are enlarged bilinearly; then the largest is taken. Pixels of a class that has no text
    (background) are not counted.

    Args:
        part: labelled images.
        size: height and width to measure at.
        weights: (K, D) of :func:`classifier`.
        ids: labels in the part of the K texts.
        shown: positions of images whose maps are kept.
    """
    rows = torch.full((256,), IGNORED)
    rows[torch.tensor(ids)] = torch.arange(len(ids))
    counts, said, true, kept, done = 0, [], [], [], 0
    for images, labels in part.batches(size, batch_size):
        cells = model.cells(images)
        scores = torch.einsum('bdhw,kd->bkhw', cells, weights)
        predicted = enlarged_argmax(scores, size).cpu()
        counts = counts + confusion(predicted, rows[labels.long()], len(ids)).sum(0)
        for i, one in enumerate(cells):
            if part.boxes is not None:
                places, classes = map(torch.from_numpy, part.boxes(done + i))
                found = box_features(one, places) @ weights.T
                said.append(found.argmax(1).cpu())
                true.append(rows[classes])
            if done + i in shown:
                kept.append(torch.tensor(ids)[predicted[i]])
        done += len(images)
    boxes = None
    if true and sum(map(len, true)):
        known = torch.cat(true) != IGNORED
        boxes = class_accuracy(torch.cat(said)[known], torch.cat(true)[known])
    return ZeroShotDense(mean_iou(counts), boxes, torch.stack(kept) if kept else None)


def open_image_text(
    checkpoint: str | Path,
    tokenizer: str | None = None,
    values: bool = True,
    quick_gelu: bool | None = None,
) -> ImageText:
    """Open both towers of a CLIP, or of a pretraining checkpoint with a head whose target is a text.

    Args:
        checkpoint: the file; also one of OpenAI or open_clip, see :func:`densecl.transfer.clip.open_clip`.
        tokenizer: the tokenizer's file; None: the one of the training.
        values: see :class:`ImageText`.
        quick_gelu: for a file of OpenAI or open_clip, see :func:`densecl.transfer.clip.open_clip`.

    Raises:
        ValueError: there is no such head, some of its weights are missing, or it reads a neck.
    """
    weights = read_weights(checkpoint)
    if is_clip(weights):
        return _of_clip(open_clip(weights, quick_gelu), tokenizer, values)
    if quick_gelu is not None:
        raise ValueError(
            f'{checkpoint} is no file of CLIP, its config says the activation: leave quick_gelu out'
        )
    config = parse_config(weights.meta.get('cfg'))
    model = config.get('model') or {}
    heads = model.get('heads') or {}
    of_texts = [name for name, head in heads.items() if (head.get('target') or {}).get('type') == 'Text']
    if not of_texts:
        raise ValueError(
            f"{checkpoint} has no head with target=dict(type='Text', ...), only {sorted(heads)}; zero-shot "
            'classes need a checkpoint of such a pretraining (configs/clip)'
        )
    if model.get('neck'):
        raise ValueError(
            f'{checkpoint}: its head reads levels of model.neck, but zero-shot classes are read from the '
            'backbone alone; take a checkpoint of a pretraining without neck'
        )
    name, head = of_texts[0], heads[of_texts[0]]
    given = head.get('projector')
    parts = {
        'projector': nn.Identity() if given is None else build_offline(given),
        'target.tower': build_offline(head['target']['tower']),
    }
    for part, module in parts.items():
        prefix = f'heads.{name}.{part}.'
        own = under(weights.tensors, prefix)
        missing = sorted(module.state_dict().keys() ^ own.keys())
        if missing:
            raise ValueError(f'{checkpoint}: {prefix}{missing[0]} is missing, or not wanted by its config')
        module.load_state_dict(own)
    said = dict((config['train_dataloader']['dataset'].get('captions') or {}).get('tokenizer') or {})
    said |= {} if tokenizer is None else dict(path=tokenizer)
    units = head.get('units')
    level = units.get('level', -1) if isinstance(units, dict) else -1
    towers = parts['projector'], parts['target.tower']
    return ImageText(load_encoder(checkpoint), *towers, TRANSFORMS.build(said), level, values)


def _of_clip(clip: Clip, tokenizer: str | None, values: bool) -> ImageText:
    if tokenizer is None:
        raise ValueError('a file of CLIP does not hold its tokenizer; give bpe_simple_vocab_16e6.txt.gz')
    backbone = build_offline(clip.backbone)
    backbone.load_state_dict(clip.tensors)
    encoder = FrozenEncoder(backbone, dict(mean=MEAN, std=STD))
    words = TRANSFORMS.build(dict(type='Tokenizer', path=tokenizer, context_length=clip.tower.context_length))
    towers = clip.projector, clip.tower
    return ImageText(encoder, *towers, words, values=values, size=clip.size, notes=clip.notes)
