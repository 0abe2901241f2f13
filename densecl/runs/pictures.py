"""Pictures of the features of runs and checkpoints, side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from densecl.datasets import PretrainDataset
from densecl.datasets.subset import evenly
from densecl.evaluation.features import FrozenEncoder, carries_config, dense_features, open_encoder
from densecl.evaluation.labelled import scaled
from densecl.files import write_json
from densecl.visualization import as_picture, resized, save_image
from densecl.visualization import feature_sheets as sheets
from densecl.visualization.embedding import check_embedding, write_embedding
from densecl.visualization.feature_maps import cell_at, centred, mean_cells

from .folder import load_json
from .run import Run, is_run
from .starts import layout_of

#: Largest number of bytes of a picture, so that a page can have many.
LARGEST = 600_000
_SHORT = 448  # short side of a photo in pixels, for features
_LONGEST = 4 * _SHORT


def open_networks(whats: Sequence[str], branch: str = 'auto') -> dict[str, FrozenEncoder]:
    """Name (the heading of its column) -> network to show.

    Args:
        whats: folders of runs, files of weights, or names of weights. A run gives two networks, see
            :attr:`.Run.compared`. Weights without a config are built as in pretraining: with
            stride 16 at the last level, if possible.
        branch: see :func:`densecl.evaluation.features.load_encoder`.

    Raises:
        FileNotFoundError, ValueError: see :func:`densecl.evaluation.features.open_encoder`.
    """
    from densecl.engine.launch import read_config
    from densecl.transfer import find_start

    found: dict[str, FrozenEncoder] = {}
    for what in whats:
        if is_run(what):
            run = Run(Path(what))
            prefix = f'{what}: ' if len(whats) > 1 else ''
            config = read_config(str(run.config))
            for name, weights in run.compared.items():
                found[prefix + name] = open_encoder(weights, branch, config)
            continue
        name = Path(what).stem if Path(what).is_file() else str(what)
        options = {} if carries_config(what) else layout_of(find_start(what)).backbone
        found[name if name not in found else str(what)] = open_encoder(what, branch, **options)
    return found


def write_pictures(
    networks: Mapping[str, FrozenEncoder],
    photos: str | Path | Sequence[str],
    out: str | Path,
    count: int = 8,
    points: Sequence[Sequence[float]] = (),
    level: int = -1,
    size: tuple[int, int] | None = None,
    segments: int = 6,
    gallery: int = 64,
    embedding: str | Path | None = None,
) -> dict[str, str]:
    """Write a picture of each kind, and ``captions.json``: file name -> a sentence for beginners.

    Args:
        networks: see :func:`open_networks`.
        photos: one or several folders; read by the decoder of the first network that has one.
        out: folder for the pictures; other captions in it are kept.
        count: number of photos shown, evenly spread.
        points: x and y as shares of the photo, the same for all photos; by default an informative point is
            chosen for each photo.
        level: the backbones' level.
        size: height and width of the photos; by default each has a short side of 448 pixels.
        segments: number of k-means clusters.
        gallery: number of photos in which neighbours are searched.
        embedding: folder for TensorBoard's projector: the mean cell of each photo in the gallery.

    Returns:
        The captions.

    Raises:
        FileNotFoundError: there is no photo.
        ImportError: TensorBoard, which writes the embedding, is not installed.
        ValueError: a point is outside the photo, there is no such level, or the networks cannot read the
            photos.
    """
    if embedding is not None:
        check_embedding()
    for point in points:
        cell_at(point, (1, 1))
    if min(count, segments, gallery) < 1:
        raise ValueError(f'photos and segments must be at least 1, got {count}, {gallery} and {segments}')
    decoder = next((n.decoder for n in networks.values() if n.decoder), None)
    names, images = _read(photos, count, gallery, size, decoder)
    maps = {name: centred(_maps(network, images, level)) for name, network in networks.items()}
    pictures = [as_picture(image) for image in images]
    shown = pictures[:count]
    few = {name: each[:count] for name, each in maps.items()}
    groups = sheets.segments_of(few, segments)
    first = next(iter(few.values()))
    chosen = [
        list(points) or [sheets.telling_point(each, photo)] for each, photo in zip(first, shown, strict=True)
    ]
    drawn = {
        'pca': sheets.draw_components(shown, few),
        'similarity': sheets.draw_similarity(shown, few, chosen),
        'segments': sheets.draw_segments(shown, groups),
    }
    if len(pictures) > 1:
        drawn['neighbours'] = sheets.draw_nearest_images(pictures, maps, len(shown))
        drawn['neighbour_patches'] = sheets.draw_nearest_cells(pictures, maps, [each[0] for each in chosen])
    if embedding is not None:
        vectors = {name: mean_cells(each) for name, each in maps.items()}
        write_embedding(embedding, vectors, pictures, names)
    for kind, sheet in drawn.items():
        _save(Path(out) / f'{kind}.jpg', sheet)
    return _write_captions(Path(out), {f'{kind}.jpg': CAPTIONS[kind] for kind in drawn})


#: What a beginner sees in each kind of picture.
CAPTIONS = {
    'pca': (
        'A network describes each small area of a photo by hundreds of numbers; the three mixtures of them '
        'that vary most are shown as red, green and blue, so that areas of one colour are alike to it.'
    ),
    'similarity': (
        'How similar each area of a photo is to the ringed one, to the network: yellow is alike, dark is '
        'different; good features light up the whole object, and others of its kind, and little else.'
    ),
    'segments': (
        'The areas of all photos in groups of similar features, found by k-means without any label: one '
        'colour is one group, and good features give one kind of thing one colour in every photo.'
    ),
    'neighbours': (
        'Beside each photo on the left those that the network finds most similar as a whole, the best first.'
    ),
    'neighbour_patches': (
        'Beside the ringed place of each photo (enlarged next to it) the places in other photos that the '
        'network finds most similar, the best first; good features find the same kind of thing.'
    ),
}


def _read(photos, count: int, gallery: int, size, decoder) -> tuple[list[str], list[np.ndarray]]:
    """Names and images (H, W, C) of the photos that are shown, then of the others of the gallery."""
    dataset = PretrainDataset(photos, **({'decoder': decoder} if decoder else {}))
    order = dict.fromkeys([*evenly(len(dataset), count), *evenly(len(dataset), gallery)])
    read = [dataset[i] for i in order]
    images = [scaled(each['image'], size or _use_size(each['image'].shape)) for each in read]
    return [Path(each['path']).name for each in read], images


def _use_size(shape: tuple[int, ...]) -> tuple[int, int]:
    """A size in multiples of 16 with nearly the same aspect ratio; of a very long photo, a smaller one."""
    scale = min(_SHORT / min(shape[:2]), _LONGEST / max(shape[:2]))
    return tuple(max(16, 16 * round(side * scale / 16)) for side in shape[:2])


def _maps(network: FrozenEncoder, images: Sequence[np.ndarray], level: int) -> list[Tensor]:
    """Maps (C, h, w) float16, computed one by one as sizes may differ."""
    return [dense_features(network, [torch.from_numpy(image)[None]], level)[0] for image in images]


def _save(path: Path, sheet: np.ndarray) -> None:
    while save_image(path, sheet).stat().st_size > LARGEST:
        sheet = resized(sheet, int(0.85 * sheet.shape[0]))


def _write_captions(out: Path, captions: dict[str, str]) -> dict[str, str]:
    path = out / 'captions.json'
    write_json(path, load_json(path, dict) | captions)
    return captions
