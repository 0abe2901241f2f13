"""Pictures of a run as data URIs, small enough for one page."""

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps

from .folder import load_json

BUDGET = 4_500_000  # bytes of all pictures of a page, which are 6 MB in base64
CAPTIONS = 'pictures/captions.json'
_KINDS = {'.png', '.jpg', '.jpeg', '.webp'}
_SIDES = (1600, 1200, 800, 560, 400, 280, 200, 140, 100)  # px of the longer side, tried in turn


@dataclass(frozen=True)
class Picture:
    """One picture.

    Attributes:
        name: path below ``pictures``, or name of a file in the run's folder itself.
        caption: sentence from ``captions.json``, or an empty one.
        uri: data URI.
        size: width and height in px, as embedded.
    """

    name: str
    caption: str
    uri: str
    size: tuple[int, int]


def find_pictures(folder: Path) -> list[Path]:
    """PNG, JPEG and WebP images in ``pictures/`` of a run, in the order of their captions; then those in the
    run's folder itself."""
    order = {name: number for number, name in enumerate(load_json(folder / CAPTIONS, dict))}
    inside = sorted(
        (folder / 'pictures').rglob('*'), key=lambda path: (order.get(path.name, len(order)), path)
    )
    paths = [*inside, *sorted(folder.glob('*'))]
    return [path for path in paths if path.suffix.lower() in _KINDS and path.is_file()]


def embed(folder: Path, paths: Iterable[Path], budget: float) -> tuple[list[Picture], list[str]]:
    """Read pictures of a run; pictures above the budget are made smaller.

    Args:
        folder: folder of the run.
        paths: paths of the images.
        budget: bytes for each.

    Returns:
        The pictures, and names of files that are no images or exceed the budget even at 100 px.
    """
    captions, pictures, left_out = load_json(folder / CAPTIONS, dict), [], []
    for path in paths:
        within = folder / 'pictures' if folder / 'pictures' in path.parents else folder
        name = path.relative_to(within).as_posix()
        try:
            kind, data, size = _fitting(path, budget)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            left_out.append(name)
            continue
        uri = f'data:image/{kind};base64,{base64.b64encode(data).decode()}'
        pictures.append(Picture(name, str(captions.get(name, '')), uri, size))
    return pictures, left_out


def _fitting(path: Path, budget: float) -> tuple[str, bytes, tuple[int, int]]:
    """Format, bytes and size: the file as it is, or the largest copy within the budget."""
    with Image.open(path) as image:
        image.load()
        if path.stat().st_size <= budget and image.format in ('PNG', 'JPEG', 'WEBP'):
            return image.format.lower(), path.read_bytes(), image.size
        whole = ImageOps.exif_transpose(image).convert('RGB')
    for side in _SIDES:
        small, buffer = whole.copy(), io.BytesIO()
        small.thumbnail((side, side))
        small.save(buffer, 'webp', quality=80)
        if buffer.tell() <= budget:
            return 'webp', buffer.getvalue(), small.size
    raise ValueError('does not fit in')
