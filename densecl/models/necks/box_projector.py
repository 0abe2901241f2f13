"""Projectors that start with a detector's layers for regions: its box head, or its last stage."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from densecl.registry import MODELS

from .mlp import MLP


def shared_conv_fc(
    in_channels: int, convs: int, conv_channels: int, fc: int | None, pool_size: int
) -> nn.Module:
    """(N, C, s, s) -> (N, fc): the shared part of mmdet's ``Shared4Conv1FCBBoxHead`` with batch norm.

    Parameters have mmdet's names, ``shared_convs.{i}.conv.weight``, ``shared_convs.{i}.bn.*`` and
    ``shared_fcs.0.*``, and torch's default initial values (SoCo's official code). With ``fc=None`` there are
    only the convolutions, (N, C, s, s) -> (N, C', s, s). For the arguments see :class:`BoxProjector`.
    """
    layers, widths = [], [in_channels] + [conv_channels] * convs
    for width in widths[:-1]:
        conv = nn.Conv2d(width, conv_channels, 3, padding=1, bias=False)
        named = OrderedDict(conv=conv, bn=nn.BatchNorm2d(conv_channels), activate=nn.ReLU(inplace=True))
        layers.append(nn.Sequential(named))
    parts = OrderedDict(shared_convs=nn.Sequential(*layers))
    if fc is None:
        return nn.Sequential(parts)
    linear = nn.Sequential(nn.Linear(widths[-1] * pool_size**2, fc))
    parts |= OrderedDict(flatten=nn.Flatten(), shared_fcs=linear)
    return nn.Sequential(parts | dict(activate=nn.ReLU(inplace=True)))


@MODELS.register_module()
class BoxProjector(nn.Module):
    """(N, C, s, s) pooled regions -> (N, D): a Mask R-CNN's box head, then an MLP (SoCo, Wei et al., 2021).

    As it is a projector, the target of a momentum pair has a moving average of the box head, too. An export
    gives the box head to the detector (``box_head.*``), not the MLP.

    Args:
        in_channels: C, channels of the feature pyramid.
        convs: number of 3x3 convolutions with batch norm.
        conv_channels: their width.
        fc: width of the linear layer after them. None pretrains only the convolutions: the MLP then reads
            their mean over the cells, so their output keeps the position inside a region.
        pool_size: s, the ``pool_size`` of the head.
        channels: widths of the MLP to D, starting with ``fc``, or with ``conv_channels`` if that is None.
        **kwargs: see :class:`~densecl.models.necks.MLP`, such as ``norm=True``.
    """

    def __init__(
        self,
        in_channels: int = 256,
        convs: int = 4,
        conv_channels: int = 256,
        fc: int | None = 1024,
        pool_size: int = 7,
        channels: Sequence[int] = (1024, 4096, 256),
        **kwargs,
    ) -> None:
        super().__init__()
        if fc is None and channels[0] != conv_channels:
            raise ValueError(
                f'BoxProjector: channels {tuple(channels)} must start with conv_channels={conv_channels}, '
                'the width of the convolutions in front of them (fc=None)'
            )
        if fc is not None and channels[0] != fc:
            raise ValueError(
                f'BoxProjector: channels {tuple(channels)} must start with fc={fc}, the width of the '
                'linear layer in front of them'
            )
        self.box_head = shared_conv_fc(in_channels, convs, conv_channels, fc, pool_size)
        self.mlp = MLP(channels, **kwargs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.box_head(x)
        return self.mlp(x.mean((2, 3)) if x.ndim == 4 else x)


@MODELS.register_module()
class StageProjector(nn.Module):
    """(N, C, s, s) pooled regions -> (N, D): a stage of the backbone, the mean over cells, then an MLP.

    It is for detectors without a feature pyramid ("C4"), whose last stage works on the regions. The
    pretrained backbone ends one stage earlier. An export puts the stage (``stage.layer4.*``) back into it.

    Args:
        stage: module config, such as ``dict(type='mmdet.ResLayer', depth=50, norm_eval=False)``.
        channels: widths of the MLP, from the stage's output to D.
        zero_init_residual: initialise the last norm of each block with 0, as in the backbone with this
            setting.
        **kwargs: see :class:`~densecl.models.necks.MLP`, such as ``norm=True``.
    """

    def __init__(
        self,
        stage: dict,
        channels: Sequence[int] = (2048, 4096, 256),
        zero_init_residual: bool = False,
        **kwargs,
    ) -> None:
        super().__init__()
        self.stage = MODELS.build(stage)
        # Initial values of a ResNet's stages: mmengine's ``init_weights`` does not initialise heads.
        for module in self.stage.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode='fan_out', nonlinearity='relu')
            last = getattr(module, 'bn3', None) or getattr(module, 'bn2', None)
            if last is not None and zero_init_residual:
                nn.init.zeros_(last.weight)
        self.mlp = MLP(channels, **kwargs)

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp(self.stage(x).mean((2, 3)))
