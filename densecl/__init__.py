"""densecl: contrastive pretraining of backbones for dense prediction.

``densecl.pretrain('my/photos', start='weights.pth', hours=2)`` returns a :class:`densecl.runs.Run`; the
command ``densecl`` does the same. Importing the package is light; the heavy parts load when they are asked
for.
"""

__version__ = '0.1.0'

_LAZY = {'pretrain', 'Run'}


def __getattr__(name: str):
    if name in _LAZY:
        from densecl import runs

        return getattr(runs, name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
