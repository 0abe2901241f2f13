"""What every pair of encoders shares: backbone, neck, named heads, and the sum of their losses."""

from collections.abc import Callable

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from densecl.registry import MODELS
from densecl.structures import Views

Levels = tuple[Tensor, ...]


class Branch:
    """The views of a batch as one encoder sees them: each is encoded when first asked for, and once.

    Args:
        encode: maps (B, 3, H, W) images to a tuple of (B, C, H, W) levels.
        views: the batch.
    """

    def __init__(self, encode: Callable[[Tensor], Levels], views: Views) -> None:
        self._encode = encode
        self._views = views
        self._levels: dict[int, Levels] = {}

    def __getitem__(self, view: int) -> Levels:
        if view not in self._levels:
            self._levels[view] = self._encode(self._views.images[view])
        return self._levels[view]


class Pretrainer(BaseModel):
    """Backbone, optional neck and named heads.

    Args:
        backbone: module config; the module returns a tensor, tuple or list of (B, C, H, W) levels.
        heads: name -> module config of a :class:`~densecl.models.heads.PretrainHead`. Names appear in the
            log (``loss_<name>``) and in checkpoints (``heads.<name>``).
        neck: module config of what maps the backbone's levels to those that the heads read.
        data_preprocessor: module config.
        channels_last: keep convolution weights in the memory format in which convolutions are fastest.
    """

    def __init__(
        self,
        backbone: dict,
        heads: dict[str, dict],
        neck: dict | None = None,
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
        self.heads = nn.ModuleDict({name: MODELS.build(cfg) for name, cfg in heads.items()})
        self.channels_last = channels_last
        if channels_last:  # before DistributedDataParallel lays out its buckets
            self.to(memory_format=torch.channels_last)
        # The position of every schedule: number of optimiser steps, saved with the weights.
        self.register_buffer('step', torch.zeros((), dtype=torch.int64))
        self._step = 0  # the same as an int, so that reading it never waits for the device
        #: Number of optimiser steps of the whole run, where a schedule needs it.
        self.total_steps: int | None = None

    def _load_from_state_dict(self, *args, **kwargs) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._step = int(self.step)

    @property
    def steps(self) -> int:
        """Optimiser steps so far."""
        return self._step

    def after_optimizer_step(self) -> None:
        """Advance the schedules; whoever steps the optimiser calls this once after each step."""
        self.step += 1
        self._step += 1

    def encode(self, images: Tensor) -> Levels:
        """(B, 3, H, W) -> levels (B, C, H, W) of the online branch."""
        return _encode(self.backbone, self.neck, images)

    def branches(self, views: Views) -> tuple[Branch, Branch]:
        """The online and the target branch on a batch."""
        raise NotImplementedError

    def target_projector(self, name: str) -> nn.Module:
        """What projects the target's features for head ``name``."""
        raise NotImplementedError

    def loss(self, views: Views) -> dict[str, Tensor]:
        """``loss_<head>`` (weighted) for every head, and its diagnostics as ``<head>_<what>``."""
        online, target = self.branches(views)
        logged: dict[str, Tensor] = {}
        for name, head in self.heads.items():
            result = head.loss(online, target, views, self.target_projector(name))
            logged[f'loss_{name}'] = head.weight(self.steps) * result.pop('loss')
            logged.update({f'{name}_{key}': value.detach() for key, value in result.items()})
        return logged

    def forward(self, inputs: Views | Tensor, data_samples=None, mode: str = 'tensor'):
        """Run one of two modes.

        Args:
            inputs: what the data preprocessor returns; in mode ``'tensor'`` also plain (B, 3, H, W).
            data_samples: unused; mmengine's loops pass it.
            mode: ``'loss'`` for a dict of losses, ``'tensor'`` for the levels of the first view.
        """
        if mode == 'loss':
            return self.loss(inputs)
        if mode == 'tensor':
            return self.encode(inputs.images[0] if isinstance(inputs, Views) else inputs)
        raise ValueError(f"mode must be 'loss' or 'tensor', got {mode!r}")


def _encode(backbone: nn.Module, neck: nn.Module | None, images: Tensor) -> Levels:
    levels = backbone(images)
    levels = (levels,) if isinstance(levels, Tensor) else tuple(levels)
    return levels if neck is None else tuple(neck(levels))
