"""Projectors for several levels of a backbone at once."""

from collections.abc import Sequence

from torch import nn

from densecl.registry import MODELS

from .mlp import MLP
from .patches import PatchProjector

KINDS = ('global', 'local')


@MODELS.register_module()
class LevelProjectors(nn.ModuleDict):
    """``projectors[kind][level]``: MLPs of one hidden layer for pooled levels and for patches of them.

    ``'global'`` maps a pooled level, (B, C) -> (B, D); ``'local'`` maps the pooled levels of an image's
    patches, (B, P, C) -> (B, D), concatenated right away (DetCo, Xie et al., 2021, section 3.2). One module
    holds all of them, so that the target keeps the moving average of all of them.

    Args:
        channels: C of each level.
        names: of the levels; their numbers by default.
        kinds: of projectors to have, ``'global'``, ``'local'`` or both.
        out_channels: D.
        hidden: width of the global hidden layers, one number or one a level; None takes C.
        local_hidden: the same for the local ones; None takes P * C, which for the four stages of ResNet-50
            makes 456 million weights.
        patches: P.
        **kwargs: further arguments of every :class:`MLP`, such as ``norm`` and ``last_norm``.
    """

    def __init__(
        self,
        channels: Sequence[int],
        names: Sequence[str] | None = None,
        kinds: Sequence[str] = KINDS,
        out_channels: int = 128,
        hidden: int | Sequence[int] | None = None,
        local_hidden: int | Sequence[int] | None = None,
        patches: int = 9,
        **kwargs,
    ) -> None:
        super().__init__()
        names = [str(i) for i in range(len(channels))] if names is None else list(names)
        if len(names) != len(channels):
            raise ValueError(
                f'LevelProjectors: channels {tuple(channels)} must have one number for each of the levels '
                f'{tuple(names)}'
            )
        if 'global' in kinds:
            widths = zip(channels, _each(hidden, channels, 'hidden'), strict=True)
            self['global'] = nn.ModuleDict(
                (name, MLP((c, h, out_channels), **kwargs))
                for name, (c, h) in zip(names, widths, strict=True)
            )
        if 'local' in kinds:
            wide = [patches * c for c in channels]
            widths = zip(wide, _each(local_hidden, wide, 'local_hidden'), strict=True)
            self['local'] = nn.ModuleDict(
                (name, PatchProjector(patches, dict(type='MLP', channels=(c, h, out_channels), **kwargs)))
                for name, (c, h) in zip(names, widths, strict=True)
            )
        self.patches = patches


@MODELS.register_module()
class ImagePatchProjectors(nn.ModuleDict):
    """A projector of images and one of their patches (PIRL, Misra and van der Maaten, 2020).

    Args:
        image: module config, (B, C) -> (B, D).
        patches: module config, (B, P, C) -> (B, D), such as :class:`PatchProjector`.
    """

    def __init__(self, image: dict, patches: dict) -> None:
        super().__init__({'global': MODELS.build(image), 'local': MODELS.build(patches)})


def _each(given: int | Sequence[int] | None, default: Sequence[int], name: str) -> Sequence[int]:
    """One number a level."""
    if given is None:
        return default
    given = [given] * len(default) if isinstance(given, int) else given
    if len(given) != len(default):
        raise ValueError(
            f'LevelProjectors: {name} {tuple(given)} must be a number, or one for each of the '
            f'{len(default)} levels'
        )
    return given
