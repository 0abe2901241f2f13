"""The repository's recipes for small machines, by the name of their method."""

from pathlib import Path

from densecl.compat.packages import config_root
from densecl.signatures import nearest

_MARK = '_resnet18_1xb64-'
#: Methods without a recipe from random weights: the anchor.
_ANCHOR = 'anchor/anchor_efficientnet-lite0_1xb16-coslr-16e_photos.py'


def recipe_names() -> list[str]:
    """Methods that need nothing but photos, such as ``'densecl'`` and ``'pixpro'``."""
    return sorted(name for name, path in _recipes().items() if _needed(path) is None)


def small_recipe(method: str) -> str:
    """The config of a method in the form for ``_base_``: ``densecl::densecl/densecl_resnet18_...py``.

    Raises:
        ValueError: there is no such recipe, or it needs more than photos.
    """
    path = _recipes().get(method)
    if path is None:
        near = nearest(method, recipe_names())
        meant = f'did you mean {near}? there are' if near else 'one of'
        raise ValueError(f'--method {method}: no such method; {meant} {", ".join(recipe_names())}')
    name, needed = path.relative_to(config_root()).as_posix(), _needed(path)
    if needed:
        raise ValueError(
            f'--method {method} needs {needed}: use tools/train.py densecl::{name} as docs/training.md tells'
        )
    return f'densecl::{name}'


def _recipes() -> dict[str, Path]:
    root = config_root()
    found = {path.name.split(_MARK)[0]: path for path in sorted(root.glob(f'*/*{_MARK}*_photos.py'))}
    return {'anchor': root / _ANCHOR, **found}


def _needed(path: Path) -> str | None:
    """What a recipe needs beside photos, or None."""
    from densecl.engine.launch import read_config

    dataset = read_config(str(path)).train_dataloader.dataset
    if dataset.get('proposals'):
        return 'candidate objects, which tools/make_proposals.py names'
    return "labels (source=dict(type='ImageNet'))" if dataset.source.type == 'ImageNet' else None
