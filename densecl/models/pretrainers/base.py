"""What every pair of encoders shares: backbone, neck, named heads, and the sum of their losses."""

from collections.abc import Callable, Iterable

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from densecl.models.heads import Head
from densecl.models.memory import Queue
from densecl.registry import MODELS
from densecl.schedule import Clock
from densecl.structures import Batch, Views

Levels = tuple[Tensor, ...]


class Branch:
    """The views of a batch as one encoder sees them: each is encoded when first asked for, and once.

    Args:
        encode: maps (B, 3, H, W) images to a tuple of (B, C, H, W) levels.
        views: the batch.
        together: views that will be asked for and may share a pass: those of one size are encoded (and,
            by heads, projected) as one batch, with common batch statistics. Others go alone.
        gradient: whether what it encodes has a gradient (where gradients are on at all), whoever asks first.
    """

    def __init__(
        self,
        encode: Callable[[Tensor], Levels],
        views: Views,
        together: Iterable[int] = (),
        gradient: bool = True,
    ) -> None:
        self._encode, self._views = encode, views
        self._together = sorted(set(together))
        #: Whether views share passes.
        self.joint = bool(self._together)
        self._levels: dict[int, Levels] = {}
        self.gradient = gradient and torch.is_grad_enabled()

    def without_gradient(self) -> 'Branch':
        """The same views and encoder, nothing encoded yet, a pass for each view, and no gradient."""
        return Branch(self._encode, self._views, gradient=False)

    def __getitem__(self, view: int) -> Levels:
        if view not in self._levels:
            images = self._views.images
            size = images[view].shape
            group = [v for v in self._together if images[v].shape == size]
            group = group if view in group else [view]
            with torch.set_grad_enabled(self.gradient):
                alone = len(group) == 1
                levels = self._encode(images[view] if alone else torch.cat([images[v] for v in group]))
                parts = zip(*(level.chunk(len(group)) for level in levels), strict=True)
                self._levels.update(zip(group, parts, strict=True))
        return self._levels[view]


class Pretrainer(BaseModel):
    """Backbone, optional neck and named heads.

    Args:
        backbone: module config; the module returns a tensor, tuple or list of levels, each (B, C, H, W).
            A level may also be a pair of a map and a (B, C) class token, as mmseg's transformers return
            them: the token becomes a further (B, C, 1, 1) level.
        heads: name -> config of a :class:`~densecl.models.heads.Head`. Names appear in the log
            (``loss_<name>``) and in checkpoints (``heads.<name>``).
        neck: module config of what maps the backbone's levels to those that the heads read.
        join_views: encode and project views of one size in one pass, with common batch statistics, as
            SimCLR, SwAV, DINO and SupCon do; otherwise a pass a view, as BYOL, SimSiam and MoCo do.
        data_preprocessor: module config.
        channels_last: keep convolution weights in the memory format in which convolutions are fastest.
    """

    def __init__(
        self,
        backbone: dict,
        heads: dict[str, dict],
        neck: dict | None = None,
        join_views: bool = False,
        data_preprocessor: dict | None = None,
        channels_last: bool = True,
        init_cfg: dict | None = None,
    ) -> None:
        preprocessor = data_preprocessor or dict(type='PretrainDataPreprocessor')
        if isinstance(preprocessor, dict):
            preprocessor = MODELS.build(preprocessor)
        super().__init__(preprocessor, init_cfg)
        if not heads:
            raise ValueError('model.heads is empty: a pretrainer needs at least one head')
        for name in heads:
            if 'loss' in name:  # mmengine adds up every logged value whose name holds this word
                raise ValueError(f"model.heads: {name!r} must not contain 'loss'; choose another name")
        self.backbone = MODELS.build(backbone)
        self.neck = MODELS.build(neck) if neck is not None else None
        self.heads = nn.ModuleDict({name: _build_head(name, cfg) for name, cfg in heads.items()})
        #: ``<head>`` or ``<head>_<kind>`` -> some rows of the last batch's queries, and which are there.
        self.watched: dict[str, tuple[Tensor, Tensor | None]] = {}
        self.join_views = join_views
        self.channels_last = channels_last
        if channels_last:  # before DistributedDataParallel lays out its buckets
            self.to(memory_format=torch.channels_last)
        # The position of every schedule: number of optimiser steps, saved with the weights.
        self.register_buffer('step', torch.zeros((), dtype=torch.int64))
        #: The same as an int, so that reading it never waits for the device; shared with every part.
        self.clock = Clock()
        self._share_clock()

    def _share_clock(self) -> None:
        for module in self.modules():
            if hasattr(module, 'clock'):
                module.clock = self.clock

    def _load_from_state_dict(self, *args, **kwargs) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self.clock.step = int(self.step)

    @property
    def steps(self) -> int:
        """Optimiser steps so far."""
        return self.clock.step

    def set_steps(self, steps: int) -> bool:
        """Put the schedules at so many optimiser steps; whether that changed anything."""
        changed = steps != self.clock.step
        self.clock.step = steps
        self.step.fill_(steps)
        return changed

    def before_optimizer_step(self) -> None:
        """Drop the gradients of what is frozen at this time; called when all gradients are there."""
        for head in self.heads.values():
            for parameter in head.frozen_parameters():
                parameter.grad = None

    def after_optimizer_step(self) -> None:
        """Advance the schedules; whoever steps the optimiser calls this once after each step."""
        self.step += 1
        self.clock.step += 1

    def encode(self, images: Tensor) -> Levels:
        """(B, 3, H, W) -> levels (B, C, H, W) of the online branch."""
        return _encode(self.backbone, self.neck, images)

    def branches(self, views: Views) -> tuple[Branch, Branch]:
        """The online and the target branch on a batch."""
        raise NotImplementedError

    def target_projector(self, name: str) -> nn.Module:
        """What projects the target's features for head ``name``."""
        raise NotImplementedError

    def _joined(self, views: Views, *sides: str) -> set[int]:
        """Views to be encoded together: what heads ask of the ``'online'`` or ``'target'`` branch."""
        needed = [head.needed(len(views)) for head in self.heads.values() if self.join_views]
        return set().union(*(views[side] for views in needed for side in sides))

    def loss(self, views: Views) -> dict[str, Tensor]:
        """``loss_<head>`` (weighted) for every head, and its diagnostics as ``<head>_<what>``."""
        online, target = self.branches(views)
        batch, logged, keys = Batch.of(views), {}, {}
        self.watched = {}
        for name, head in self.heads.items():
            result = head.loss(online, target, views, batch, self.target_projector(name))
            weight = head.weight(self.clock.step)
            if weight:
                logged[f'loss_{name}'] = weight * result.loss
            else:  # only logged, for 0 times NaN would be NaN; data-parallel training waits for gradients
                logged[f'{name}_value'] = result.loss.detach()
                logged[f'loss_{name}'] = sum(p.sum() * 0.0 for p in self.parameters() if p.requires_grad)
            logged.update({f'{name}_{key}': value for key, value in result.log.items()})
            self.watched.update({_joined_name(name, kind): x for kind, x in result.watched.items()})
            keys[name] = result.keys
        if self.training:
            for name, head in self.heads.items():
                head.remember(keys[name], batch)
        return logged

    def queues(self) -> dict[str, Queue]:
        """The queues of all heads, by the names of :attr:`watched`."""
        parts = ((name, head.queues()) for name, head in self.heads.items())
        return {_joined_name(name, kind): q for name, queues in parts for kind, q in queues.items()}

    def forward(self, inputs: Views | Tensor, data_samples=None, mode: str = 'tensor'):
        """A dict of losses in mode ``'loss'``, the levels of the first view in mode ``'tensor'``.

        ``inputs`` is what the data preprocessor returns, in mode ``'tensor'`` also plain (B, 3, H, W);
        ``data_samples`` is unused, mmengine's loops pass it.
        """
        if mode == 'loss':
            return self.loss(inputs)
        if mode == 'tensor':
            return self.encode(inputs.images[0] if isinstance(inputs, Views) else inputs)
        raise ValueError(f"mode must be 'loss' or 'tensor', got {mode!r}")


@MODELS.register_module()
class SharedPretrainer(Pretrainer):
    """Query and key come from the same network (SimCLR, SimSiam, SwAV, Barlow Twins, VICReg, SupCon).

    The gradient flows through both sides unless a head stops it (``stop_gradient=True``). A view is encoded
    once, whatever number of heads and pairs it serves. The arguments are those of :class:`Pretrainer`.
    """

    def branches(self, views: Views) -> tuple[Branch, Branch]:
        branch = Branch(self.encode, views, self._joined(views, 'online', 'target'))
        return branch, branch

    def target_projector(self, name: str) -> nn.Module:
        return self.heads[name].projector


def _joined_name(head: str, kind: str) -> str:
    return f'{head}_{kind}' if kind else head


def _encode(backbone: nn.Module, neck: nn.Module | None, images: Tensor) -> Levels:
    levels = _flat(backbone(images))
    return levels if neck is None else tuple(neck(levels))


def _flat(levels) -> Levels:
    """Levels in one tuple, class tokens (B, C) as (B, C, 1, 1)."""
    if isinstance(levels, Tensor):
        return (levels if levels.ndim == 4 else levels[..., None, None],)
    return tuple(flat for level in levels for flat in _flat(level))


def _build_head(name: str, config: dict) -> Head:
    try:
        return MODELS.build({'type': 'Head', **config})
    except ValueError as error:
        raise ValueError(f'model.heads.{name}: {error}') from error
