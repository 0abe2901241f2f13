"""An encoder and a slow moving average of it."""

import copy
import warnings
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torchvision.ops import DropBlock2d, StochasticDepth

from densecl.distributed import local, world_size
from densecl.messages import check_choice
from densecl.models.backbones.rotary import Rotary
from densecl.registry import MODELS
from densecl.schedule import Schedule
from densecl.structures import Views

from .base import Pretrainer, encode_levels
from .batch_statistics import encode_shuffled, group_batch_norm
from .branch import Branch


class TargetBranch(nn.Module):
    """Copies of backbone, neck and projectors without gradient.

    The projector of a head whose answers come from elsewhere (``target``) has none: nothing would read it.
    Only the online branch has dropout (of attention, too) and drop-path (official code of DINO): here all
    their probabilities are set to 0. Besides torch's dropout modules, such a probability is any float
    attribute with "drop" in its name: ``dropout`` of torch's attention, ``drop_prob`` of drop-path and
    DropBlock, ``attn_drop_p``, ``attention_dropout``. Rotary positions are not rescaled here (DINOv3).
    """

    def __init__(self, backbone: nn.Module, neck: nn.Module | None, heads: nn.ModuleDict) -> None:
        super().__init__()
        self.backbone = copy.deepcopy(backbone)
        self.neck = copy.deepcopy(neck)
        read = {name: head.projector for name, head in heads.items() if head.target is None}
        self.heads = nn.ModuleDict({name: copy.deepcopy(projector) for name, projector in read.items()})
        self.requires_grad_(False)
        for part in self.modules():
            if isinstance(part, _DropoutNd | StochasticDepth | DropBlock2d):
                part.p = 0.0
            if isinstance(part, Rotary):
                part.rescale = None
            for name, value in {**vars(type(part)), **vars(part)}.items():
                if 'drop' in name and isinstance(value, float):
                    setattr(part, name, 0.0)


@torch.no_grad()
def move_where(counts: Tensor | None, target: list[Tensor], online: list[Tensor], momentum: float) -> None:
    """``target = momentum * target + (1 - momentum) * online`` if ``counts``, () bool; None: always."""
    if counts is not None and counts.device.type != 'cpu':  # reading it would make the host wait
        move_on_device(counts, target, online, momentum)
    elif counts is None or counts:
        get_ema_multi_avg_fn(momentum)(target, online, None)


@torch.no_grad()
def move_on_device(counts: Tensor, target: list[Tensor], online: list[Tensor], momentum: float) -> None:
    """:func:`move_where` without reading ``counts`` on the host: the update is 0 where it is false."""
    way = counts * (1 - momentum)
    for mine, theirs in zip(target, online, strict=True):  # foreach is this same loop, as shapes differ
        mine.lerp_(theirs, way.to(mine.dtype))


@MODELS.register_module()
class MomentumPretrainer(Pretrainer):
    """The key of a view comes from a momentum copy of the encoder (MoCo, He et al., 2020, eq. 2).

    Parameters of the target move by ``target = momentum * target + (1 - momentum) * online``. Its batch
    statistics are its own, from its own forward passes, as in the official codes. It moves once after each
    optimiser step. This equals the official codes, which move it before the next forward pass of keys.

    Args:
        momentum: share of the target that is kept, 0.999 in MoCo; or a
            :class:`~densecl.schedule.Schedule`, such as ``dict(start=0.99, end=1.0)``, a cosine over the
            run (BYOL, Grill et al., 2020, section 3.3).
        shuffle_bn: permute the keys over all processes (and batch-norm groups) before they are encoded. Then
            a query and its key never share the backbone's batch statistics (MoCo, section 3.3). Projectors
            get the keys back in order; those of MoCo and DenseCL have no batch norm.
        bn_groups: split a process's batch into this many equal parts, each with its own batch statistics. So
            one device computes what that many devices would. For backbone and neck only; not together with
            ``sync_bn``.
        keep_target: a run that begins with ``load_from`` also loads the target branch of that file, and the
            frozen copy for heads with ``target='start'`` is that target (stages of DINOv3). Otherwise both
            are copies of the online branch when a run begins.
        export_branch: ``'online'`` or ``'target'``, the encoder that the method evaluates (SlotCon: the
            target). It has no effect on training: exporting and ``--pretrained`` read it from the
            checkpoint's config.
        **kwargs: see :class:`Pretrainer`.
    """

    def __init__(
        self,
        *args,
        momentum: float | dict = 0.999,
        shuffle_bn: bool = False,
        bn_groups: int = 1,
        keep_target: bool = False,
        export_branch: str = 'online',
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._momentum = Schedule.of(momentum, 'momentum')
        for value in self._momentum.values:
            if not 0.5 <= value <= 1.0:
                raise ValueError(
                    f'momentum is the share of the target that is kept, in [0.5, 1], got {value}. '
                    f'Where the update rate is meant, give 1 - rate = {1 - value:g}'
                )
        check_choice('export_branch', export_branch, ('online', 'target'))
        if bn_groups < 1:
            raise ValueError(f'model.bn_groups must be at least 1, got {bn_groups}')
        self.shuffle_bn, self.bn_groups = shuffle_bn, bn_groups
        self.keep_target, self.has_target = keep_target, False
        self._check_statistics()
        if bn_groups > 1:
            group_batch_norm(self.backbone, bn_groups)
            if self.neck is not None and any(isinstance(m, nn.BatchNorm2d) for m in self.neck.modules()):
                group_batch_norm(self.neck, bn_groups)
        self.target = TargetBranch(self.backbone, self.neck, self.heads)
        self._compile(self.target.backbone)
        if self.channels_last:
            self.to(memory_format=torch.channels_last)
        self._share_clock()
        self._still = 0  # number of training passes since the target last moved

    def train(self, mode: bool = True) -> 'MomentumPretrainer':
        """As torch's, but an error if ``sync_bn`` was applied after a model was built with ``bn_groups``."""
        self._check_statistics()
        super().train(mode)
        self._hold_statistics(self.target.backbone)
        return self

    def _check_statistics(self) -> None:
        parts = (part for part in (self.backbone, self.neck) if part is not None)
        layers = (type(layer).__name__ for part in parts for layer in part.modules())  # torch's or mmcv's
        if self.bn_groups > 1 and any('SyncBatchNorm' in name for name in layers):
            raise ValueError(
                f'model.bn_groups={self.bn_groups} takes batch statistics over parts of a process, sync_bn '
                '(or SyncBN in a norm_cfg) over all processes: leave out one of them'
            )

    @torch.no_grad()
    def init_target(self) -> None:
        """Make the target and the frozen start exact copies of the online branch, with buffers.

        With ``keep_target``, a target from a checkpoint is kept, and the start becomes a copy of it.
        """
        if not (self.keep_target and self.has_target):
            self._copy_target()
        super().init_target()

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        self.has_target = any(name.startswith(f'{prefix}target.backbone.') for name in state_dict)

    @torch.no_grad()
    def _copy_target(self) -> None:
        for mine, theirs in self._mirrored():
            theirs.load_state_dict(mine.state_dict())

    def _mirrored(self) -> list[tuple[nn.Module, nn.Module]]:
        """Pairs of modules (online, target)."""
        pairs = [(self.backbone, self.target.backbone), (self.neck, self.target.neck)]
        pairs += [(self.heads[name].projector, theirs) for name, theirs in self.target.heads.items()]
        return [pair for pair in pairs if pair[0] is not None]

    @property
    def target_backbone(self) -> nn.Module:
        """The momentum copy."""
        return self.target.backbone

    @property
    def momentum(self) -> float:
        """The momentum at this step."""
        return self._momentum(self.clock)

    @torch.no_grad()
    def after_optimizer_step(self, counts: Tensor | None = None) -> None:
        """Move the target if the step counts, then advance the schedules."""
        sides = zip(*self._mirrored(), strict=True)
        online, target = ([local(p) for module in side for p in module.parameters()] for side in sides)
        move_where(counts, target, online, self.momentum)
        self._still = 0
        super().after_optimizer_step(counts)
        if self.heads_first and self.clock.step == self.heads_first and not self.keep_target:
            self._copy_target()  # otherwise the target's projectors would still be near their random start

    def branches(self, views: Views) -> tuple[Branch, Branch]:
        """See :class:`Pretrainer`. Warns once if the target never moves."""
        self._still += self.training
        if self._still == 1000:
            warnings.warn(
                'the target has not moved in 1000 training passes: add '
                "custom_hooks=[dict(type='MomentumUpdateHook')] or call "
                'model.after_optimizer_step() after each optimiser step',
                stacklevel=3,
            )
        online = Branch(self.encode, views, self._joined(views, 'online'), masked=True)
        target = Branch(self.encode_target, views, self._joined(views, 'target'), gradient=False)
        return online, target

    def target_projector(self, name: str) -> nn.Module:
        """The momentum copy of head ``name``'s projector."""
        return self.target.heads[name]

    @torch.no_grad()
    def encode_target(self, images: Tensor) -> Sequence[Tensor]:
        """Target branch: (B, 3, H, W) -> levels (B, C, H, W)."""
        encode = partial(encode_levels, self.target.backbone, self.target.neck)
        leaks = self.training and not self.held  # held statistics do not depend on the batch
        shuffled = self.shuffle_bn and leaks and world_size() * self.bn_groups > 1
        return encode_shuffled(encode, images, seed=self.clock.step) if shuffled else encode(images)
