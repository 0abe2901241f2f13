"""Runs the probes of a frozen backbone on a labelled set; all of them use the same maps."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

import torch
from torch import Tensor

from densecl.datasets.subset import evenly

from .box_retrieval import BoxAccuracy, box_retrieval
from .discovery import Discovery, discover
from .features import FrozenEncoder, dense_features
from .labelled import Labelled, LabelledPart
from .linear_segmentation import linear_segmentation
from .overclustering import Clusters, overclustering
from .retrieval_segmentation import retrieval_segmentation
from .segmentation import MeanIoU, mean_iou

#: The probes that predict label maps.
SEGMENTING = ('linear', 'retrieval')
#: All probes.
PROBES = (*SEGMENTING, 'clusters', 'discovery', 'boxes')
#: Settings of the retrieval probe's memory, see :func:`retrieval_segmentation`.
RETRIEVAL = dict(k=30, temperature=0.02, cells=40)


@dataclass(frozen=True)
class Probed:
    """Results of the probes; None for a probe that was not run.

    Attributes:
        linear: (M, K, K) counts of pixels for each test image.
        retrieval: the same.
        clusters: one result for each number of clusters.
        discovery: result of the object discovery.
        boxes: accuracy of the classes of boxes.
        seconds: duration by name: ``'features'`` and each probe.
        shown: for :func:`draw_probe`, ``linear`` and ``retrieval``: (S, H, W) predicted labels of some test
            images.
    """

    linear: Tensor | None = None
    retrieval: Tensor | None = None
    clusters: list[Clusters] | None = None
    discovery: Discovery | None = None
    boxes: BoxAccuracy | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    shown: dict[str, Tensor] = field(default_factory=dict)

    def scores(self) -> dict[str, MeanIoU]:
        """IoU of ``linear`` and ``retrieval`` over all test images."""
        counts = {name: getattr(self, name) for name in SEGMENTING}
        return {name: mean_iou(each.sum(0)) for name, each in counts.items() if each is not None}

    def figures(self) -> dict[str, float]:
        """Name -> percentage, one for each probe: ``linear_miou``, ``clusters_36_miou`` (many-to-one)."""
        found = {f'{name}_miou': score.mean for name, score in self.scores().items()}
        found |= {f'clusters_{each.clusters}_miou': mean(each.many) for each in self.clusters or ()}
        if self.discovery:
            found['discovery_corloc'] = self.discovery.corloc
        if self.boxes:
            found |= {
                f'boxes_{kind}_acc': getattr(self.boxes, kind)['mean_class'] for kind in ('knn', 'linear')
            }
        return found


def probe(
    encoder: FrozenEncoder,
    labelled: Labelled,
    size: tuple[int, int],
    level: int = -1,
    seed: int = 0,
    shown: int = 0,
    probes: Sequence[str] = SEGMENTING,
    clusters: Sequence[int] = (),
    dropout: float = 0.0,
    **retrieval,
) -> Probed:
    """Train the probes on the training part and score them on the test part.

    If the memory of the encoder's device is large enough, maps stay there and the probes run there; otherwise
    on the CPU.

    Args:
        encoder: the frozen backbone.
        labelled: see :func:`~densecl.evaluation.labelled.open_labelled`.
        size: height and width that all images are scaled to; the figures are for this size.
        level: the backbone's level to probe.
        seed: seed of all probes. Over-clustering uses three, 3 * seed and the next two, so two values of
            ``seed`` never share one.
        shown: number of test images whose predicted labels are kept.
        probes: some of ``PROBES``.
        clusters: see :func:`overclustering`; if empty, the number of classes and three times this number.
        dropout: see :func:`linear_segmentation`.
        **retrieval: ``k``, ``temperature`` and ``cells`` of :func:`retrieval_segmentation`.

    Raises:
        ValueError: a probe is not known, or needs boxes but the set has none.
    """
    check_probes(probes, labelled)
    classes, seconds = len(labelled.classes), {}
    kept = {name: _Kept(evenly(len(labelled.test), shown)) for name in SEGMENTING if name in probes}
    clusters = clusters or (classes, 3 * classes)
    retrieval = RETRIEVAL | retrieval
    start = time.perf_counter()
    test, truth = _features(encoder, labelled.test, size, level)
    if {*SEGMENTING, 'boxes'} & set(probes):
        train = _features(encoder, labelled.train, size, level)
    seconds['features'] = time.perf_counter() - start

    def boxes() -> BoxAccuracy:
        return box_retrieval(train[0], _boxes(labelled.train), test, _boxes(labelled.test), classes)

    runs = {
        'linear': lambda: linear_segmentation(
            *train, test, truth, classes, dropout=dropout, seed=seed, seen=kept['linear'].see
        ),
        'retrieval': lambda: retrieval_segmentation(
            *train, test, truth, classes, seed=seed, seen=kept['retrieval'].see, **retrieval
        ),
        'clusters': lambda: overclustering(test, truth, classes, clusters, range(3 * seed, 3 * seed + 3)),
        'discovery': lambda: discover(test, [places for places, _ in _boxes(labelled.test)]),
        'boxes': boxes,
    }
    found = {}
    for name in probes:
        start = time.perf_counter()
        found[name] = runs[name]()
        seconds[name] = time.perf_counter() - start
    maps = {name: torch.stack(each.maps) for name, each in kept.items() if shown}
    return Probed(**found, seconds=seconds, shown=maps)


def check_probes(probes: Sequence[str], labelled: Labelled) -> None:
    """Raise a ValueError of :func:`probe` before anything is measured."""
    unknown = [name for name in probes if name not in PROBES]
    if unknown or not probes:
        raise ValueError(f'probes must be some of {PROBES}, got {list(probes)}')
    needed = {'boxes': (labelled.train, labelled.test), 'discovery': (labelled.test,)}
    for name in probes:
        if any(part.boxes is None for part in needed.get(name, ())):
            raise ValueError(f'the probe "{name}" needs boxes; give a COCO json instead of label maps')


def _boxes(part: LabelledPart) -> list[tuple[Tensor, Tensor]]:
    """Boxes and class ids of each image."""
    return [tuple(map(torch.from_numpy, part.boxes(i))) for i in range(len(part))]


class _Kept:
    """Keeps the label maps at some positions of a stream of batches."""

    def __init__(self, positions: list[int]) -> None:
        self.positions, self.maps, self.passed = set(positions), [], 0

    def see(self, batch: Tensor) -> None:
        self.maps += [m for i, m in enumerate(batch, self.passed) if i in self.positions]
        self.passed += len(batch)


def draw_probe(probed: Probed, labelled: Labelled, size: tuple[int, int], folder: str | Path) -> list[Path]:
    """Write a picture of each ``shown`` image: truth, linear probe and retrieval probe, side by side.

    Args:
        probed: result of :func:`probe` with ``shown``.
        labelled, size: the arguments of that call.
        folder: output folder. Pictures have the images' names, and the folders of the images below their
            common folder.
    """
    from densecl.visualization.canvas import colors, save_image, side_by_side
    from densecl.visualization.predictions import draw_segmentation
    from densecl.visualization.views import as_picture

    count = len(next(iter(probed.shown.values()), ()))
    part = labelled.test.part(evenly(len(labelled.test), count))
    palette, names, written = colors(len(labelled.classes)), picture_names(part.images), []
    for index, (images, labels) in enumerate(part.batches(size, 1)):
        maps = [labels[0], *(each[index] for each in probed.shown.values())]
        image = as_picture(images[0].numpy())
        tiles = [draw_segmentation(image, m.numpy(), labelled.classes, palette) for m in maps]
        written.append(save_image(Path(folder) / names[index], side_by_side(tiles)))
    return written


def picture_names(paths: Sequence[Path]) -> list[Path]:
    """A PNG path per image, relative to the images' common folder; ``a.jpg.png`` if two were ``a.png``."""
    root = os.path.commonpath([path.absolute().parent for path in paths]) if paths else ''
    inside = [path.absolute().relative_to(root) for path in paths]
    short = [path.with_suffix('.png') for path in inside]
    pairs = zip(inside, short, strict=True)
    return [one if short.count(one) == 1 else path.with_name(f'{path.name}.png') for path, one in pairs]


def _features(
    encoder: FrozenEncoder, part: LabelledPart, size: tuple[int, int], level: int
) -> tuple[Tensor, Tensor]:
    """Maps (N, C, h, w) float16 and, on the CPU, labels (N, H, W) uint8."""
    labels = []

    def images():
        for batch, label in part.batches(size):
            labels.append(label)
            yield batch

    maps = dense_features(encoder, images(), level, len(part))
    return maps, torch.cat(labels)
