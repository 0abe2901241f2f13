"""The heads of a detector as a projector: RPN, box head, and an MLP on the box head's features."""

from collections.abc import Sequence

import torch
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from densecl.registry import MODELS

from .mlp import MLP


@MODELS.register_module()
class DetectorHeads(nn.Module):
    """RPN and box head of a two-stage detector of mmdet, without classes (AlignDet, Li et al., 2023).

    Both are mmdet's own modules, built from its configs. So a detector with these configs can start from
    their weights (``rpn_head.*``, ``box_head.*``). The MLP after the box head is not exported. As this is a
    projector, the target of a momentum pair has a moving average of all of it.

    Args:
        rpn_head: config of mmdet's ``RPNHead`` or another ``AnchorHead``; its losses are not used.
        box_head: config of ``Shared4Conv1FCBBoxHead``, ``Shared2FCBBoxHead`` or another ``ConvFCBBoxHead``.
            The MLP embeds the features that its classifier would read. Its regressor has one class.
        channels: widths of the MLP, from these features to D.
        **kwargs: see :class:`~densecl.models.necks.MLP`.

    Raises:
        ValueError: a head does not regress offsets from anchors.
    """

    def __init__(self, rpn_head: dict, box_head: dict, channels: Sequence[int] = (1024, 1024, 256), **kwargs):
        super().__init__()
        self.rpn_head = _built(rpn_head | dict(num_classes=1))
        self.box_head = _built(box_head | dict(num_classes=1, reg_class_agnostic=True))
        for name, head in (('rpn_head', self.rpn_head), ('box_head', self.box_head)):
            coder = head.bbox_coder
            if type(coder).__name__ != 'DeltaXYWHBBoxCoder' or any(coder.means) or head.reg_decoded_bbox:
                raise ValueError(
                    f"DetectorHeads: {name} must regress offsets, bbox_coder.type='DeltaXYWHBBoxCoder' of "
                    'means 0 and reg_decoded_bbox=False; set these, or take another head'
                )
        if not self.rpn_head.use_sigmoid_cls:
            raise ValueError(
                'DetectorHeads: rpn_head needs one logit an anchor; set loss_cls.use_sigmoid=True'
            )
        self.box_head.fc_cls = nn.Identity()
        self.mlp = MLP(channels, **kwargs)
        self.stds = tuple(self.rpn_head.bbox_coder.stds)
        self.region_stds = tuple(self.box_head.bbox_coder.stds)
        self.strides = tuple(self.rpn_head.prior_generator.strides)
        for level, shapes in enumerate(self.rpn_head.prior_generator.base_anchors):
            self.register_buffer(f'_shapes{level}', shapes, persistent=False)

    def anchors(self, maps: Sequence[Tensor], size: tuple[int, int]) -> list[Tensor]:
        """The anchors of each level (A_l, 4), place by place, in pixels of the view.

        ``size`` is height and width of the view.
        """
        expected = [(-(-size[0] // down), -(-size[1] // across)) for across, down in self.strides]
        given = [tuple(x.shape[2:]) for x in maps]
        if given != expected:
            raise ValueError(
                f'DetectorHeads: rpn_head has anchors for levels of {expected} cells, but the neck returns '
                f'{given}; set neck.num_outs, or rpn_head.anchor_generator.strides'
            )
        found = []
        for level, (x, (across, down)) in enumerate(zip(maps, self.strides, strict=True)):
            shapes = getattr(self, f'_shapes{level}')
            rows, columns = (torch.arange(n, device=x.device, dtype=shapes.dtype) for n in x.shape[2:])
            y, x = torch.meshgrid(rows * down, columns * across, indexing='ij')
            corners = torch.stack([x, y, x, y], -1)[:, :, None]  # (H, W, 1, 4)
            found.append((corners + shapes).flatten(0, 2))
        return found

    def propose(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Levels (B, C, H, W) -> logits (B, A_l) and offsets (B, A_l, 4) of each level's anchors."""
        logits, offsets = self.rpn_head(tuple(maps))
        logits = [x.permute(0, 2, 3, 1).flatten(1) for x in logits]
        return logits, [x.permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, 4)) for x in offsets]

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled regions (N, C, s, s) -> features for a classifier (N, E), and offsets (N, 4)."""
        return self.box_head(pooled)


def _built(config: dict) -> nn.Module:
    """A head of mmdet, initialised as mmdet does."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        head = MODELS.build(config)
    head.init_weights()
    return head
