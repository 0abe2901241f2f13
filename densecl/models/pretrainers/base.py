"""The base class of pretrainers: backbone, neck, named heads, and their losses."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from densecl.building import ConfigMistake, at_the_place_of, building
from densecl.distributed import is_spread, world_size
from densecl.messages import check_choice
from densecl.models.backbones.layers import freeze_layers
from densecl.models.backbones.low_rank import add_low_rank
from densecl.models.backbones.recompute import recompute_blocks
from densecl.models.backbones.sparse import encode_sparse
from densecl.models.heads import Head, is_trained
from densecl.models.heads.units import MaskedCells, Set, TokenPrototypes
from densecl.models.memory import Queue
from densecl.registry import MODELS
from densecl.schedule import Clock
from densecl.structures import Batch, TokenMask, Units, Views

from .branch import Branch
from .start import FrozenStart, hold_statistics


class Pretrainer(BaseModel):
    """Backbone, optional neck and named heads.

    Args:
        backbone: module config. The module returns a tensor, tuple or list of levels, each (B, C, H, W).
            A level may also be a pair of a map and a (B, C) class token, as in mmseg's transformers: the
            token becomes a further (B, C, 1, 1) level.
        heads: name -> config of a :class:`~densecl.models.heads.Head`. Names appear in the log
            (``loss_<name>``) and in checkpoints (``heads.<name>``).
        neck: config of a module that maps the backbone's levels to those that the heads read.
        join_views: encode and project views of one size in one pass, with common batch statistics, as
            SimCLR, SwAV, DINO and SupCon do. Otherwise each view has its own pass, as in BYOL, SimSiam and
            MoCo.
        data_preprocessor: module config.
        batch_statistics: ``'batch'``: batch norm of the backbone uses the statistics of the batch, as usual.
            ``'held'``: it uses the statistics that it started with, which do not change. This is for a
            backbone that is already trained: statistics of small crops with changed colours damage it.
        heads_first: for this many optimiser steps only the heads (and the neck) are trained, as the gradient
            of random heads is random. Batch statistics of the backbone move on, unless they are held.
        frozen_layers: this many of the backbone's layers, from the stem on, are not trained, and their batch
            statistics are held; see :func:`~densecl.models.backbones.layers.layers_of`.
        renew_start: after each of these optimiser steps, the frozen copy for heads with ``target='start'``
            becomes a copy of the present target branch (DINOv3's Gram teacher).
        low_rank: train only an addition of this rank to the linear layers of a transformer (LoRA); see
            :func:`~densecl.models.backbones.low_rank.add_low_rank`. A checkpoint holds the plain network,
            with the additions merged into its weights.
        view_maker: config of a network that perturbs the views before they are encoded, and learns to make
            the heads' task hard: ``dict(type='ViewMaker')``. It learns from views that are encoded with
            gradient.
        channels_last: keep convolution weights in the memory format in which convolutions are fastest.
        checkpoint_activations: recompute the blocks of the backbone in the backward pass instead of keeping
            their activations: less memory, more time; see
            :func:`~densecl.models.backbones.recompute.recompute_blocks`.
        compile_backbone: run every backbone through ``torch.compile``; a dict gives its arguments. By default
            each size of batch and image is compiled once (``dynamic=False``), and Python that cannot be
            compiled is an error (``fullgraph=True``). Names in checkpoints do not change. Colour changes on
            the device are compiled, too.
    """

    def __init__(
        self,
        backbone: dict,
        heads: dict[str, dict],
        neck: dict | None = None,
        join_views: bool = False,
        data_preprocessor: dict | None = None,
        batch_statistics: str = 'batch',
        heads_first: int = 0,
        frozen_layers: int = 0,
        renew_start: Sequence[int] = (),
        low_rank: int | None = None,
        view_maker: dict | None = None,
        channels_last: bool = True,
        checkpoint_activations: bool = False,
        compile_backbone: bool | dict = False,
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
        check_choice('model.batch_statistics', batch_statistics, ('batch', 'held'))
        if heads_first < 0:
            raise ValueError(f'model.heads_first must be at least 0, got {heads_first}')
        self.held, self.heads_first = batch_statistics == 'held', heads_first
        self.backbone = MODELS.build(backbone)
        if low_rank is not None:
            add_low_rank(self.backbone, low_rank)
        self.frozen_norms = freeze_layers(self.backbone, frozen_layers)
        if checkpoint_activations:
            recompute_blocks(self.backbone)
        self.neck = MODELS.build(neck) if neck is not None else None
        self.heads = nn.ModuleDict({name: _build_head(name, cfg) for name, cfg in heads.items()})
        self.view_maker = None if view_maker is None else MODELS.build(view_maker)
        self._tell_how_images_are_normalised()
        self.renew_start = frozenset(renew_start)
        #: The frozen copy of the backbone that heads with ``target='start'`` compare with.
        self.start = self._frozen_start()
        self.compile_backbone = compile_backbone
        self._compile(self.backbone, *([] if self.start is None else [self.start.backbone]))
        #: ``<head>`` or ``<head>_<kind>`` -> some rows of the last batch's queries, and which are valid.
        self.watched: dict[str, tuple[Tensor, Tensor | None]] = {}
        #: Whether an optimiser step follows the next batch. With gradient accumulation, queues, centres and
        #: other memories store the keys of all batches of a step together, after the last one was scored.
        self.ends_step = True
        self._kept: list[tuple[dict, Batch]] = []
        self.join_views = join_views
        self.channels_last = channels_last
        if channels_last:  # before DistributedDataParallel lays out its buckets
            self.to(memory_format=torch.channels_last)
        # Number of optimiser steps, the position of every schedule; saved with the weights.
        self.register_buffer('step', torch.zeros((), dtype=torch.int64))
        #: The same as an int, so that reading it never waits for the device; all modules share it.
        self.clock = Clock()
        self._share_clock()

    def _tell_how_images_are_normalised(self) -> None:
        """Tell targets and the view maker; refuse parts that read something else than the data are."""
        data, kind = self.data_preprocessor, type(self.data_preprocessor).__name__
        photos = hasattr(data, 'shift')
        if photos and getattr(self.backbone, 'reads_tokens', False):
            raise ValueError(
                f'model.backbone={type(self.backbone).__name__} reads texts, data_preprocessor={kind} makes '
                "photos; take dict(type='TextPreprocessor')"
            )
        for name, head in self.heads.items():
            if isinstance(head.target, nn.Module) and not (photos or hasattr(head.target, 'seen')):
                raise ValueError(
                    f'model.heads.{name}: target={type(head.target).__name__} is made of photos, but '
                    f'data_preprocessor={kind} has none; take another target'
                )
        if self.view_maker is not None and not getattr(data, 'rgb', False):
            raise ValueError(
                'model.view_maker perturbs photos in 8-bit RGB: data_preprocessor is to be a '
                'PretrainDataPreprocessor with three values of mean, without low and high; '
                'otherwise leave view_maker out'
            )
        for part in (*(head.target for head in self.heads.values()), self.view_maker):
            if hasattr(part, 'images_have'):
                part.images_have(-data.shift / data.scale, 1 / data.scale)

    def _frozen_start(self) -> FrozenStart | None:
        anchored = [name for name, head in self.heads.items() if head.target == 'start']
        if anchored and self.neck is not None:
            raise ValueError(
                f"model.heads.{anchored[0]}: target='start' compares the backbone's levels with those it had "
                'at the start, but heads read the levels of model.neck: leave out one of them'
            )
        if self.renew_start and not anchored:
            raise ValueError("model.renew_start renews what heads with target='start' see: there is none")
        return FrozenStart(self.backbone) if anchored else None

    def _compile(self, *backbones: nn.Module) -> None:
        if self.compile_backbone:
            self.data_preprocessor.compiled = True
            options = {} if self.compile_backbone is True else self.compile_backbone
            for backbone in backbones:  # in place; a copy of a compiled module is not compiled
                backbone.compile(**{'dynamic': False, 'fullgraph': True, **options})

    def _share_clock(self) -> None:
        for module in self.modules():
            if hasattr(module, 'clock'):
                module.clock = self.clock

    def _load_from_state_dict(self, *args, **kwargs) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self.clock.step = int(self.step)

    def train(self, mode: bool = True) -> 'Pretrainer':
        """As torch's, but held batch statistics and those of frozen layers do not change."""
        super().train(mode)
        self._hold_statistics(self.backbone)
        return self

    def _hold_statistics(self, backbone: nn.Module) -> None:
        for part in [backbone] if self.held else [backbone.get_submodule(n) for n in self.frozen_norms]:
            hold_statistics(part)

    def init_weights(self) -> None:
        """Initialise the modules, then the copies of them."""
        super().init_weights()
        for head in self.heads.values():
            if hasattr(head.target, 'init_weights'):
                head.target.init_weights()
        self.init_target()

    def init_target(self) -> None:
        """Copy the present weights to all copies of the online branch; called after weights were loaded."""
        if self.start is not None:
            self.start.backbone.load_state_dict(self.target_backbone.state_dict())

    @property
    def settling(self) -> bool:
        """Whether only the heads (and the neck) are trained at this step."""
        return self.clock.step < self.heads_first

    @property
    def target_backbone(self) -> nn.Module:
        """The backbone that encodes the keys."""
        return self.backbone

    @property
    def steps(self) -> int:
        """Number of optimiser steps so far."""
        return self.clock.step

    def set_steps(self, steps: int) -> bool:
        """Set the number of optimiser steps, the position of the schedules; return whether it changed."""
        changed = steps != self.clock.step
        self.clock.step = steps
        self.step.fill_(steps)
        return changed

    def before_optimizer_step(self) -> None:
        """Remove the gradients of parameters that are frozen at this step; called after the backward pass."""
        frozen = [parameter for head in self.heads.values() for parameter in head.frozen_parameters()]
        for parameter in (*frozen, *(self._resting() if self.settling else ())):
            parameter.grad = None

    def after_optimizer_step(self, counts: Tensor | None = None) -> None:
        """Advance the schedules. The training loop calls this once after each optimiser step.

        ``counts``: () bool, whether the step changed the weights; None: it did.
        """
        self.step += 1
        self.clock.step += 1
        if self.clock.step in self.renew_start:
            self.start.backbone.load_state_dict(self.target_backbone.state_dict())

    def encode(self, images: Tensor, mask: TokenMask | None = None) -> tuple[Tensor, ...]:
        """Online branch: (B, 3, H, W) -> levels (B, C, H, W). It does not see patches that ``mask`` hides."""
        return encode_levels(self.backbone, self.neck, images, mask, learning=not self.settling)

    def encode_start(self, images: Tensor) -> tuple[Tensor, ...]:
        """Frozen copy: (B, 3, H, W) -> levels (B, C, H, W)."""
        return encode_levels(self.start.backbone, None, images)

    def branches(self, views: Views) -> tuple[Branch, Branch]:
        """The online and the target branch for a batch."""
        raise NotImplementedError

    def target_projector(self, name: str) -> nn.Module:
        """The module that projects the target's features for head ``name``."""
        raise NotImplementedError

    def _joined(self, views: Views, *sides: str) -> set[int]:
        """Views to encode in one pass: those that heads read from the branches ``sides``, with
        ``join_views``."""
        joined = set()
        for head in self.heads.values() if self.join_views else ():
            needed = head.needed(len(views))
            own = ('online', 'target') if head.target in (None, 'features') else ('online',)
            joined |= set().union(*(needed[side] for side in sides if side in own))
        return joined

    def _resting(self) -> list[nn.Parameter]:
        """Parameters without gradient during ``heads_first``: backbone and view maker."""
        parts = (part for part in (self.backbone, self.view_maker) if part is not None)
        return [parameter for part in parts for parameter in part.parameters()]

    def _perturbed(self, views: Views) -> Views:
        """The views after the view maker.

        Raises:
            ValueError: none of the views that it perturbs gets a gradient.
        """
        perturbed = self.view_maker.perturbed(views, self.step)
        chosen, learning = self.view_maker.views, set()
        shared = self.target_backbone is self.backbone
        for head in self.heads.values():
            needed = head.needed(len(views))
            both = shared and head.target is None and not head.stop_gradient
            learning |= needed['online'] | (needed['target'] if both else set())
        if chosen is not None and learning.isdisjoint(chosen):
            raise ValueError(
                f'model.view_maker.views={tuple(chosen)}: the heads read these as keys without gradient, or '
                f'not at all: nothing is learned of them; name some of {sorted(learning)}, or change pairs'
            )
        return perturbed

    def loss(self, views: Views) -> dict[str, Tensor]:
        """The weighted ``loss_<head>`` of every head, and its diagnostics as ``<head>_<what>``."""
        if self.view_maker is not None:
            views = self._perturbed(views)
        if getattr(self.backbone, 'class_path', None) and not any(m is not None for m in views.masks or ()):
            raise ValueError(
                'model.backbone.class_path: its blocks work where a mask hides patches, and no view has one: '
                'they would not be trained; give a view a mask (docs/masks.md), or leave class_path out'
            )
        online, target = self.branches(views)
        given = self._given_targets(views, target)
        batch, logged, keys = Batch.of(views), {}, {}
        self.watched = {}
        for name, head in self.heads.items():
            own, answers = head.target is None, given.get(name, target)
            projector = self.target_projector(name) if own else nn.Identity()
            with building(None, ('model', 'heads', name)):
                result = head.loss(online, answers, views, batch, projector)
            weight = head.weight(self.clock.step)
            if weight:
                logged[f'loss_{name}'] = weight * result.loss
            else:  # not 0 * loss, as 0 * NaN is NaN; but data-parallel training needs every gradient
                logged[f'{name}_value'] = result.loss.detach()
                logged[f'loss_{name}'] = _zero(self.parameters())
            logged.update({f'{name}_{key}': value for key, value in result.log.items()})
            self.watched.update({_joined_name(name, kind): x for kind, x in result.watched.items()})
            keys[name] = result.keys
        if self.settling and self.training and world_size() > 1:
            # Data-parallel training waits for a gradient of every parameter.
            first = next(key for key in logged if key.startswith('loss_'))
            logged[first] = logged[first] + _zero(self._resting())
        if self.training:
            self._remember(keys, batch)
        return logged

    def _given_targets(self, views: Views, target: Branch) -> dict[str, Branch]:
        """Head -> the branch whose features are its keys without projection, for heads with such a target."""
        start = None if self.start is None else Branch(self.encode_start, views, gradient=False)
        heads = {name: head.target for name, head in self.heads.items() if head.target is not None}
        named = {'start': start, 'features': target}
        return {
            name: named[own]
            if isinstance(own, str)
            else Branch(own, _seen(own, views), gradient=is_trained(own))
            for name, own in heads.items()
        }

    def _remember(self, keys: dict[str, dict[Set, Units]], batch: Batch) -> None:
        """Let the heads store the keys of a step, of all its batches at once, after the last batch."""
        if self._kept or not self.ends_step:
            kept = {
                name: {s: units.kept(*self.heads[name].remembers(s)) for s, units in sets.items()}
                for name, sets in keys.items()
            }
            self._kept.append((kept, batch))
            if not self.ends_step:
                return
            parts, batches = zip(*self._kept, strict=True)
            self._kept, batch = [], Batch.joined(batches)
            keys = {n: {s: Units.joined([p[n][s] for p in parts]) for s in sets} for n, sets in kept.items()}
        Units.gather([each for name, head in self.heads.items() for each in head.sends(keys[name])])
        for name, head in self.heads.items():
            head.remember(keys[name], batch)

    def queues(self) -> dict[str, Queue]:
        """The queues of all heads, with the names of :attr:`watched`."""
        parts = ((name, head.queues()) for name, head in self.heads.items())
        return {_joined_name(name, kind): q for name, queues in parts for kind, q in queues.items()}

    def may_collapse(self) -> set[str]:
        """The names of :attr:`watched` whose embeddings can collapse to one vector."""
        return {_joined_name(name, kind) for name, head in self.heads.items() for kind in head.may_collapse()}

    def forward(self, inputs: Views | Tensor, data_samples=None, mode: str = 'tensor'):
        """A dict of losses in mode ``'loss'``, the levels of the first view in mode ``'tensor'``.

        ``inputs`` is what the data preprocessor returns; in mode ``'tensor'`` also images (B, 3, H, W).
        ``data_samples`` is not used: mmengine's loops pass it.
        """
        if check_choice('mode', mode, ('loss', 'tensor')) == 'loss':
            return self.loss(inputs)
        return self.encode(inputs.images[0] if isinstance(inputs, Views) else inputs)


@MODELS.register_module()
class SharedPretrainer(Pretrainer):
    """Query and key come from the same network (SimCLR, SimSiam, SwAV, Barlow Twins, VICReg, SupCon).

    The gradient flows through both sides unless a head stops it (``stop_gradient=True``). A view is encoded
    once for all heads and pairs, without the patches that its mask hides. The arguments are those of
    :class:`Pretrainer`.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        for name, head in self.heads.items():
            if isinstance(head.units, MaskedCells | TokenPrototypes) and head.target is None:
                raise ValueError(
                    f'model.heads.{name}: units={type(head.units).__name__} want to know what a mask hides '
                    'from a branch that sees it, which a SharedPretrainer does not have; take '
                    "type='MomentumPretrainer', or give the head a target, such as "
                    "dict(type='Pixels', patch=16)"
                )
            if getattr(head.units, 'foreground', None) is not None:
                raise ValueError(
                    f'model.heads.{name}: units.foreground is taken of a branch without gradient, which a '
                    "SharedPretrainer does not have; take type='MomentumPretrainer'"
                )
            if head.target == 'features':
                raise ValueError(
                    f"model.heads.{name}: target='features' are those of another branch: take "
                    "type='MomentumPretrainer'"
                )

    def branches(self, views: Views) -> tuple[Branch, Branch]:
        branch = Branch(self.encode, views, self._joined(views, 'online', 'target'), masked=True)
        return branch, branch

    def target_projector(self, name: str) -> nn.Module:
        return self.heads[name].projector


def _seen(target: nn.Module, views: Views) -> Views:
    """The input of a head's own target: usually the images, otherwise what its ``seen`` returns."""
    return target.seen(views) if hasattr(target, 'seen') else views


def _zero(parameters: Iterable[nn.Parameter]) -> Tensor | float:
    """A loss of 0, which gives every parameter a zero gradient.

    Sharded parameters are left out: no process waits for their gradients.
    """
    return sum(p.sum() * 0.0 for p in parameters if p.requires_grad and not is_spread(p))


def _joined_name(head: str, kind: str) -> str:
    return f'{head}_{kind}' if kind else head


def encode_levels(
    backbone: nn.Module,
    neck: nn.Module | None,
    images: Tensor,
    mask: TokenMask | None = None,
    learning: bool = True,
) -> tuple[Tensor, ...]:
    """(B, 3, H, W) -> levels (B, C, h, w) of the neck, or of the backbone without one.

    ``mask`` hides patches. Without ``learning`` no gradient reaches the backbone; one may reach the neck.
    """
    with torch.set_grad_enabled(learning and torch.is_grad_enabled()):
        levels = as_levels(backbone(images) if mask is None else _encode_masked(backbone, images, mask))
    return levels if neck is None else tuple(neck(levels))


def _encode_masked(backbone: nn.Module, images: Tensor, mask: TokenMask):
    """Encode without the hidden patches. A backbone with the attribute ``hides`` applies the mask itself; in
    another one the hidden cells are set to 0 in every layer."""
    hides = getattr(backbone, 'hides', None)
    if hides is None:
        return encode_sparse(backbone, images, mask.hidden)
    if not hides:
        raise ValueError(
            f'views have masks, but model.backbone={type(backbone).__name__} hides nothing: set its '
            "hidden='token' or 'dropped', or take views without a mask"
        )
    return backbone(images, mask=mask)


def as_levels(levels) -> tuple[Tensor, ...]:
    """The output of a backbone as one tuple of (B, C, H, W) levels; a (B, C) class token is (B, C, 1, 1)."""
    if isinstance(levels, Tensor) and levels.ndim in (2, 4):
        return (levels if levels.ndim == 4 else levels[..., None, None],)
    if isinstance(levels, Mapping):
        levels = list(levels.values())
    if not isinstance(levels, list | tuple):
        found = f'a tensor {tuple(levels.shape)}' if isinstance(levels, Tensor) else type(levels).__name__
        raise ValueError(
            f'model.backbone returns {found}; expected maps (B, C, H, W) and class tokens (B, C), or a '
            'tuple, list or dict of them'
        )
    return tuple(flat for level in levels for flat in as_levels(level))


def _build_head(name: str, config: dict) -> Head:
    try:
        head = MODELS.build({'type': 'Head', **config})
        if not isinstance(head, Head):
            raise ValueError(f'{type(head).__name__} is no head; heads is a dict of heads, name=dict(...)')
        return head
    except ConfigMistake:  # it already names its place in the config
        raise
    except ValueError as error:
        said = ValueError(f'model.heads.{name}: {error}')
        raise at_the_place_of(error, said) from error
