"""Projectors for patches of an image, and for several levels of a backbone at once."""

from collections.abc import Sequence

from torch import Tensor, nn

from densecl.registry import MODELS

from .mlp import MLP


@MODELS.register_module()
class PatchProjector(nn.Module):
    """(B, P, C) -> (B, D): project each patch, concatenate the P results, project again.

    In PIRL (Misra and van der Maaten, 2020, section 3.2) both projections are linear layers. DetCo's local
    head (Xie et al., 2021) only concatenates and projects: ``each=None``.

    Args:
        patches: P, 9 in both methods.
        together: config of a module that maps the concatenation (B, P * width) to (B, D).
        each: config of a module that maps each patch (N, C); None: patches are not projected.
        relu: apply ReLU before the concatenation.
    """

    def __init__(self, patches: int, together: dict, each: dict | None = None, relu: bool = False) -> None:
        super().__init__()
        self.patches, self.relu = patches, relu
        self.each = nn.Identity() if each is None else MODELS.build(each)
        self.together = MODELS.build(together)

    def forward(self, x: Tensor) -> Tensor:
        """(B, P, C) -> (B, D). All patches of the batch go through ``each`` in one pass."""
        if x.ndim != 3 or x.shape[1] != self.patches:
            raise ValueError(
                f'PatchProjector needs (B, {self.patches}, C), got {tuple(x.shape)}; set patches to the '
                'number of patch views'
            )
        each = self.each(x.flatten(0, 1)).unflatten(0, (len(x), self.patches))
        return self.together((each.relu() if self.relu else each).flatten(1))


@MODELS.register_module()
class LevelProjectors(nn.ModuleDict):
    """``projectors[kind][level]``: MLPs with one hidden layer, for pooled levels of images and of patches.

    ``'global'`` maps a pooled level, (B, C) -> (B, D). ``'local'`` concatenates and maps the pooled levels of
    an image's patches, (B, P, C) -> (B, D) (DetCo, Xie et al., 2021, section 3.2). One module holds all MLPs,
    so that the target has a moving average of all of them.

    Args:
        channels: C of each level.
        names: names of the levels; by default their numbers.
        kinds: the kinds of projectors, ``'global'``, ``'local'`` or both.
        out_channels: D.
        hidden: width of the global hidden layers, one number, or one for each level; None: C.
        local_hidden: the same for the local ones; None: P * C, which for the four stages of ResNet-50 is 456
            million weights.
        patches: P.
        **kwargs: further arguments of every :class:`MLP`, such as ``norm`` and ``last_norm``.
    """

    def __init__(
        self,
        channels: Sequence[int],
        names: Sequence[str] | None = None,
        kinds: Sequence[str] = ('global', 'local'),
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
            widths = zip(names, channels, _each(hidden, channels, 'hidden'), strict=True)
            self['global'] = nn.ModuleDict((n, MLP((c, h, out_channels), **kwargs)) for n, c, h in widths)
        if 'local' in kinds:
            wide = [patches * c for c in channels]
            widths = zip(names, wide, _each(local_hidden, wide, 'local_hidden'), strict=True)
            mlps = ((n, dict(type='MLP', channels=(c, h, out_channels), **kwargs)) for n, c, h in widths)
            self['local'] = nn.ModuleDict((n, PatchProjector(patches, mlp)) for n, mlp in mlps)


@MODELS.register_module()
class ImagePatchProjectors(nn.ModuleDict):
    """One projector for images and one for their patches (PIRL, Misra and van der Maaten, 2020).

    Args:
        image: module config, (B, C) -> (B, D).
        patches: module config, (B, P, C) -> (B, D), such as :class:`PatchProjector`.
    """

    def __init__(self, image: dict, patches: dict) -> None:
        super().__init__({'global': MODELS.build(image), 'local': MODELS.build(patches)})


def _each(given: int | Sequence[int] | None, default: Sequence[int], name: str) -> Sequence[int]:
    """One number for each level."""
    if given is None:
        return default
    given = [given] * len(default) if isinstance(given, int) else given
    if len(given) != len(default):
        raise ValueError(
            f'LevelProjectors: {name} {tuple(given)} must be a number, or one for each of the '
            f'{len(default)} levels'
        )
    return given
