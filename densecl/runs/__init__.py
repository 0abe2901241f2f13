"""Plans runs, carries them out, and reads their folders."""

import importlib

# Name -> its module. Modules are loaded on first use, as a page of a run needs no torch.
_LAZY = {'Plan': 'plan', 'make_plan': 'plan', 'pretrain': 'pretraining', 'Run': 'run'}

__all__ = ['Plan', 'Run', 'make_plan', 'pretrain']


def __getattr__(name: str):
    if name in _LAZY:
        return getattr(importlib.import_module(f'{__name__}.{_LAZY[name]}'), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
