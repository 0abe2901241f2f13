"""timm's models as backbones; vision transformers return maps, then the class token as the last level."""

import math
from collections.abc import Callable, Sequence
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from densecl.messages import check_choice
from densecl.numerics import full_precision
from densecl.registry import MODELS
from densecl.structures import TokenMask

from .beit import OwnTable, class_token_blocks, init_beit, only_relative, relative_bias
from .capi import capi_vit, init_capi
from .drop_path import use_equal_drop_path
from .hidden_patches import put_token
from .initial_values import init_dinov3, init_mae, init_mocov3
from .rotary import Rotary
from .swin import TimmSwin


@MODELS.register_module('TimmBackbone')
def timm_backbone(model_name: str, out_indices: Sequence[int] | None = None, **kwargs) -> nn.Module:
    """A timm model that returns its feature levels, with timm's own parameter names.

    If a model is a sequence of stages, timm writes ``stages_0`` here and ``stages.0`` in the whole model.
    Loading and exporting know both. In models with anti-aliasing average pools (``'resnet50_clip'``, CLIP's
    ResNet), all average pools round odd sizes up, as strided convolutions do: images may have any size.

    Args:
        model_name: ``'convnext_tiny'``, ``'resnet50d'``, ...
        out_indices: levels to return; None: timm's default, all levels of most models.
        **kwargs: passed to ``timm.create_model``. A Swin also takes ``hidden`` and ``final_norm``, see
            :class:`~densecl.models.backbones.swin.TimmSwin`.
    """
    options = dict(pretrained=False, features_only=True, out_indices=out_indices)
    create = _timm('TimmBackbone').create_model
    if not model_name.startswith('swin_'):
        return _channels_first(_rounding_up(create(model_name, **options, **kwargs)))
    own = {name: kwargs.pop(name) for name in ('hidden', 'final_norm') if name in kwargs}
    return TimmSwin(create(model_name, **options, **{'strict_img_size': False, **kwargs}), **own)


def _rounding_up(model: nn.Module) -> nn.Module:
    """Let average pools round up: timm's anti-aliasing ones round down, those of the shortcuts up."""
    pools = {name: part for name, part in model.named_modules() if isinstance(part, nn.AvgPool2d)}
    if any(name.endswith('.aa') for name in pools):
        for pool in pools.values():
            pool.ceil_mode = True
    return model


def _channels_first(model: nn.Module) -> nn.Module:
    """Let a timm model whose levels are (B, H, W, C) return (B, C, H, W)."""
    if getattr(getattr(model, 'output_fmt', None), 'name', None) == 'NHWC':
        model.register_forward_hook(_permuted)
    return model


def _permuted(model: nn.Module, inputs: tuple, levels: Sequence[Tensor]) -> list[Tensor]:
    return [level.permute(0, 3, 1, 2) for level in levels]


@MODELS.register_module()
class TimmViT(nn.Module):
    """A timm ViT with a class token, with or without register tokens, with timm's parameter names.

    Positions are of one of three kinds. They are added to the tokens; or they turn queries and keys (RoPE, in
    DINOv3's architectures); or they are a bias of the attention (in BEiT's, ``'beit_base_patch16_224'``). All
    blocks share this bias, as in BEiT's pretraining; with timm's ``use_rel_pos_bias=True`` each block has its
    own table, as in BEiT's fine-tuning. ``'vit_large_patch14_capi'`` is CAPI's encoder with RoPE, see
    :func:`~densecl.models.backbones.capi.capi_vit`.

    The levels are the patch maps of ``out_indices`` and, as the LAST level, the class token as a map of one
    cell: a head that averages level -1 reads the class token, a dense head reads level -2. CAPI has no class
    token; its last level is the map (B, C, 1, R) of its R registers. The final norm is applied to the last
    block's output, both map and token; the output of other blocks is raw. Images may have any size: the
    position embedding is resized by bicubic interpolation, as in DINO's code and in mmseg (timm's own
    resizing adds antialiasing), and images are padded with zeros at the bottom and right to a multiple of the
    patch, as in mmseg.

    Args:
        arch: name of a timm model, ``'vit_small_patch16_224'``, ``'deit_base_patch16_224'``, ...
        num_heads: attention heads; the architecture's own by default. MoCo v3's ViT-S has 12, timm's 6.
        out_indices: blocks whose maps are returned; negative ones count from the end.
        output_cls_token: return the class token as the last level.
        final_norm: False: there is no final norm; the last block's output is raw, too.
        pos_embed: ``'learned'``; or fixed, see :func:`sincos_positions`: ``'sincos'`` as in MoCo v3, or
            ``'sincos-mae'`` as in MAE.
        freeze_patch_embed: do not train the patch projection, so that it keeps its random values (MoCo v3,
            Chen et al., ICCV 2021, section 4.3; "stop-grad-conv1" in its code). This avoids spikes of its
            gradient.
        init: ``'timm'``, or as in a method's code: ``'mocov3'``, ``'mae'``, ``'beit'``, ``'dinov3'``,
            ``'capi'``, see the function ``init_...`` of that name.
        hidden: what happens to the patches that a mask hides. ``'token'``: a learned vector replaces them,
            before positions are added (BEiT, SimMIM, iBOT, DINOv2). ``'dropped'``: the blocks do not see them
            (MAE), and the maps are 0 there; the mask must leave the same number of patches in each image.
        drop_path: probability of stochastic depth in the last block.
        drop_path_law: ``'linear'``: the probability grows from 0 at the first block. ``'subset'``: it is the
            same in all blocks; above 0.1, each block drops the same number of images, see
            :func:`.use_equal_drop_path` (DINOv2).
        rope_rescale: with RoPE, the largest factor by which coordinates are scaled in training, 2 in DINOv3;
            see :class:`~densecl.models.backbones.rotary.Rotary`.
        class_path: (n, d): if a mask hides patches, there is a further level before the maps (BEiT v2, Peng
            et al., 2022). The output patches of block n, counted from 1, and the last block's class token
            pass d further blocks and the final norm. What these early patches lack, the class token has to
            supply. The further blocks are not exported.
        output_attention: return as the first level how much the class token attends to each patch in the last
            block, (B, heads, h, w), without gradient (DINO's maps of objects; Leopart). It needs a class
            token and positions that are added to the tokens.
        **kwargs: passed to timm: ``embed_dim``, ``depth``, ``img_size``, ``patch_size``, ...

    Raises:
        ValueError: an argument has an unknown value, or does not fit the architecture or another argument.
    """

    def __init__(
        self,
        arch: str = 'vit_small_patch16_224',
        num_heads: int | None = None,
        out_indices: Sequence[int] = (-1,),
        output_cls_token: bool = True,
        final_norm: bool = True,
        pos_embed: str = 'learned',
        freeze_patch_embed: bool = False,
        init: str = 'timm',
        hidden: str | None = None,
        drop_path: float = 0.0,
        drop_path_law: str = 'linear',
        rope_rescale: float | None = None,
        class_path: Sequence[int] | None = None,
        output_attention: bool = False,
        **kwargs,
    ) -> None:
        super().__init__()
        check_choice('TimmViT: pos_embed', pos_embed, ('learned', 'sincos', 'sincos-mae'))
        check_choice('TimmViT: init', init, ('timm', 'mocov3', 'mae', 'beit', 'dinov3', 'capi'))
        check_choice('TimmViT: hidden', hidden, (None, 'token', 'dropped'))
        check_choice('TimmViT: drop_path_law', drop_path_law, ('linear', 'subset'))
        if num_heads is not None:
            kwargs['num_heads'] = num_heads
        model = _timm_vit(arch, drop_path_rate=drop_path, **kwargs)
        if drop_path_law == 'subset' and drop_path:
            use_equal_drop_path(model.blocks, drop_path)
        tokens = ('cls_token', 'reg_token', 'pos_embed', 'pos_drop', 'rope', 'rel_pos_bias')
        for name in ('patch_embed', *tokens, 'norm_pre', 'blocks', 'norm'):  # shallow to deep: see layers_of
            setattr(self, name, getattr(model, name, None))
        if self.norm_pre is None:  # some networks have one, such as CLIP's
            self.norm_pre = nn.Identity()
        if not final_norm:
            self.norm = nn.Identity()
        self.extra_tokens = model.num_prefix_tokens
        self.no_embed_class = getattr(model, 'no_embed_class', False)
        self.embed_dim = model.embed_dim
        self.num_heads = num_heads or model.blocks[0].attn.num_heads
        depth = len(self.blocks)
        if not all(-depth <= i < depth for i in out_indices):
            raise ValueError(f'TimmViT: out_indices {tuple(out_indices)} with {depth} blocks')
        self.out_indices = tuple(i % depth for i in out_indices)
        if output_cls_token and not self.extra_tokens:
            raise ValueError(
                f'TimmViT: {arch} without register tokens has none to return as the last level; set '
                'output_cls_token=False, or num_reg_tokens'
            )
        self.output_cls_token = output_cls_token
        if output_attention and not (self.plain_attention and self.cls_token is not None):
            raise ValueError(
                'TimmViT: output_attention wants a class token, and positions that are added to tokens; '
                f"{arch} has not both: take 'vit_small_patch16_224', or leave it out"
            )
        self.output_attention = output_attention
        self.hidden = hidden
        self.mask_token = nn.Parameter(torch.zeros(1, self.embed_dim)) if hidden == 'token' else None
        self._make_rotary(arch, rope_rescale)
        if init != 'timm':
            own = dict(mocov3=init_mocov3, mae=init_mae, beit=init_beit, dinov3=init_dinov3, capi=init_capi)
            own[init](self)
        if pos_embed != 'learned':
            order = 'xy' if pos_embed == 'sincos-mae' else 'yx'
            fixed = sincos_positions(self.patch_embed.grid_size, self.embed_dim, order=order)
            self.pos_embed = nn.Parameter(fixed, requires_grad=False)
        if freeze_patch_embed:
            self.patch_embed.requires_grad_(False)
        self.class_path = None if class_path is None else class_path[0]
        if class_path is not None:
            if not self.hides:
                raise ValueError(
                    "TimmViT: class_path works where a mask hides patches; set hidden='token' or leave it out"
                )
            self.cls_pt_layers = class_token_blocks(
                self.blocks, *class_path, drop_path if drop_path_law == 'linear' else None
            )

    def _make_rotary(self, arch: str, rescale: float | None) -> None:
        """Replace timm's rotary positions by :class:`.Rotary`, which never waits for the device."""
        if rescale is not None and self.rope is None:
            raise ValueError(
                f'TimmViT: rope_rescale stretches rotary positions, which {arch} has not; take an arch of '
                "DINOv3, such as 'vit_small_patch16_dinov3'"
            )
        if self.rope is not None:
            capi = arch in OWN
            registers = self.extra_tokens if capi else 0
            kind = dict(kind='capi' if capi else 'dinov3', temperature=self.rope.temperature)
            self.rope = Rotary(self.embed_dim // self.num_heads, registers=registers, rescale=rescale, **kind)

    @property
    def hides(self) -> bool:
        """Whether the backbone applies a mask."""
        return self.hidden is not None

    @property
    def plain_attention(self) -> bool:
        """Whether attention knows nothing of places, and one layer gives queries, keys and values."""
        places = self.rope is not None or self.rel_pos_bias is not None or self._tables_of_blocks
        return not places and hasattr(self.blocks[-1].attn, 'qkv')

    @property
    def _tables_of_blocks(self) -> bool:
        return isinstance(self.blocks[0].attn, OwnTable)

    def forward(self, x: Tensor, mask: TokenMask | None = None) -> tuple[Tensor, ...]:
        """(B, 3, H, W) -> (B, C, H / p, W / p) for each block of ``out_indices``, then (B, C, 1, 1).

        H / p and W / p are rounded up. Before these levels come those of ``output_attention`` and
        ``class_path``, in this order.

        Raises:
            ValueError: the mask has another grid; or patches are dropped, and positions are relative or the
                mask leaves different numbers of patches.
        """
        patches = self.patch_embed(x)  # (B, h, w, C)
        grid = patches.shape[1:3]
        if mask is not None and mask.hidden.shape[1:] != grid:
            raise ValueError(f'TimmViT: a mask of {tuple(mask.hidden.shape[1:])} patches for {tuple(grid)}')
        if self.hidden == 'token':
            patches = put_token(patches, self.mask_token, None if mask is None else mask.hidden)
        tokens = self.norm_pre(self._tokens(patches.flatten(1, 2), grid))
        if mask is None or self.hidden == 'token':
            return self._blocks(
                tokens, lambda found: found.unflatten(1, grid), self._placed(grid), mask is not None
            )
        return self._visible(tokens, mask)

    def _placed(self, grid: Sequence[int], places: Tensor | None = None) -> list[dict[str, Tensor]]:
        """Arguments of each block about the positions of tokens; none if positions are added to the tokens.

        ``places`` (B, V) are the visible patches of each image; None: all patches.
        """
        count = len(self.blocks)
        if self.rope is not None:
            return [{'rope': table} for table in self.rope.tables(grid, count, places)]
        if self.rel_pos_bias is not None:
            return [{'shared_rel_pos_bias': relative_bias(self.rel_pos_bias, grid)}] * count
        if self._tables_of_blocks:
            return [{'shared_rel_pos_bias': grid}] * count
        return [{}] * count

    def _visible(self, tokens: Tensor, mask: TokenMask) -> tuple[Tensor, ...]:
        """Run the blocks on the visible patches only; the maps are 0 at the hidden ones."""
        if mask.visible is None:
            raise ValueError(
                "TimmViT: hidden='dropped' needs a mask that leaves equally many patches of each image, "
                "such as dict(type='RandomMask'); views with different masks need join_views=False, too"
            )
        if self.rel_pos_bias is not None or self._tables_of_blocks:
            raise ValueError(
                "TimmViT: hidden='dropped' needs positions that are added or turn (RoPE), not relative ones"
            )
        extra, patches = tokens.split([self.extra_tokens, tokens.shape[1] - self.extra_tokens], 1)
        places, grid = mask.visible_places(), mask.hidden.shape[1:]

        def index_of(found: Tensor) -> Tensor:
            return places[..., None].expand(-1, -1, found.shape[2])

        def whole(found: Tensor) -> Tensor:
            zeros = found.new_zeros(len(found), patches.shape[1], found.shape[2])
            return zeros.scatter(1, index_of(found), found).unflatten(1, grid)

        seen = torch.cat([extra, patches.gather(1, index_of(patches))], 1)
        return self._blocks(seen, whole, self._placed(grid, places), True)

    def _blocks(
        self, tokens: Tensor, whole: Callable[[Tensor], Tensor], placed: list[dict], hiding: bool
    ) -> tuple[Tensor, ...]:
        """Run the blocks; returns all levels. ``whole`` puts patches (B, n, C) into a map (B, h, w, C)."""
        levels, early = [], None
        for i, block in enumerate(self.blocks):
            if self.output_attention and i == len(self.blocks) - 1:
                attention = class_attention(block, tokens)[..., self.extra_tokens :]
            tokens = block(tokens, **placed[i])
            if hiding and i + 1 == self.class_path:
                early = tokens[:, self.extra_tokens :]
            if i == len(self.blocks) - 1:
                raw, tokens = tokens, self.norm(tokens)
            if i in self.out_indices:
                levels.append(whole(tokens[:, self.extra_tokens :]).permute(0, 3, 1, 2))
        if early is not None:
            path = torch.cat([raw[:, : self.extra_tokens], early], 1)
            for block in self.cls_pt_layers:
                path = block(path, **placed[-1])
            levels.insert(0, whole(self.norm(path)[:, self.extra_tokens :]).permute(0, 3, 1, 2))
        if self.output_cls_token:
            said = 1 if self.cls_token is not None else self.extra_tokens
            levels.append(tokens[:, :said].transpose(1, 2)[:, :, None])
        if self.output_attention:
            levels.insert(0, whole(attention.transpose(1, 2)).permute(0, 3, 1, 2))
        return tuple(levels)

    def _tokens(self, patches: Tensor, grid: Sequence[int]) -> Tensor:
        """(B, h w, C) -> (B, 1 + R + h w, C): class token, R register tokens, patches, with positions."""
        extra = [t.expand(len(patches), -1, -1) for t in (self.cls_token, self.reg_token) if t is not None]
        if self.pos_embed is None:
            return self.pos_drop(torch.cat([*extra, patches], dim=1))
        positions = resize_positions(self.pos_embed, self.patch_embed.grid_size, grid)
        if self.no_embed_class:
            return self.pos_drop(torch.cat([*extra, patches + positions], dim=1))
        return self.pos_drop(torch.cat([*extra, patches], dim=1) + positions)


def value_features(vit: 'TimmViT', images: Tensor) -> Tensor:
    """(B, 3, H, W) -> (B, C, h, w): the last map as if each patch attended only to itself in the last block.

    A patch gets its own value in place of attention's weighted mean of values (MaskCLIP, Zhou et al., 2022).
    The final norm is applied. Runs in eval mode, without gradient. The ViT must return its class token.

    Raises:
        ValueError: its attention knows of places (rotary or relative positions).
    """
    if not vit.plain_attention:
        raise ValueError(
            'the values of attention stand for patches only in a ViT whose positions are added to its '
            'tokens; take the map: --maps, values=False'
        )
    block, kept, mode = vit.blocks[-1], [], vit.training
    handle = block.register_forward_pre_hook(lambda _, given: kept.append(given[0]))
    try:
        with torch.no_grad():
            grid = vit.eval()(images)[-2].shape[2:]
            x = kept[0][:, vit.extra_tokens :]
            value = block.attn.qkv(block.norm1(x)).chunk(3, -1)[2]
            x = x + block.ls1(block.attn.proj(value))
            x = vit.norm(x + block.ls2(block.mlp(block.norm2(x))))
    finally:
        handle.remove()
        vit.train(mode)
    return x.transpose(1, 2).unflatten(2, grid)


@torch.no_grad()
def class_attention(block: nn.Module, tokens: Tensor) -> Tensor:
    """Input (B, L, C) of a block -> attention weights of the class token, the first one, (B, heads, L).

    The block is one of timm's: it has ``norm1``, and ``attn`` with one layer for queries, keys and values.
    """
    attn = block.attn
    projected = attn.qkv(block.norm1(tokens)).unflatten(2, (3, attn.num_heads, -1))
    query, key, _ = projected.permute(2, 0, 3, 1, 4)  # (B, heads, L, C / heads)
    query, key = (full_precision(x) for x in (attn.q_norm(query[:, :, :1]), attn.k_norm(key)))
    with torch.autocast(tokens.device.type, enabled=False):
        return (attn.scale * query @ key.mT).softmax(-1)[:, :, 0]


def _timm(needing: str) -> ModuleType:
    try:
        import timm
    except ImportError as error:
        raise ImportError(f'{needing} needs timm: pip install timm') from error
    return timm


#: Architectures that timm does not have; they are made here of timm's parts.
OWN = {'vit_large_patch14_capi': capi_vit}


def _timm_vit(arch: str, **kwargs) -> nn.Module:
    timm = _timm('TimmViT')
    if arch in OWN:
        return OWN[arch](**kwargs)
    known = timm.models.is_model_in_modules(arch, ('vision_transformer', 'deit', 'eva', 'beit'))
    if known and timm.models.is_model_in_modules(arch, ('beit',)):
        own = kwargs.setdefault('use_rel_pos_bias', False)
        shared = dict(use_shared_rel_pos_bias=not own, use_fc_norm=False)
        model = timm.create_model(arch, pretrained=False, num_classes=0, **shared, **kwargs)
        return only_relative(model)
    if known:
        sizes = dict(dynamic_img_size=True, dynamic_img_pad=True)
        model = timm.create_model(arch, pretrained=False, num_classes=0, **sizes, **kwargs)
        known = _is_computed_here(model)
    if not known:
        raise ValueError(
            f'TimmViT: {arch!r} is no plain ViT with class token and final norm; use TimmBackbone'
        )
    return model


def _is_computed_here(model: nn.Module) -> bool:
    """Whether ``TimmViT.forward`` computes this timm model: it has no further steps or tokens."""
    own = ('patch_drop', 'fc_norm')
    plain = all(isinstance(getattr(model, name, None), nn.Identity | None) for name in own)
    tokens = 1 + (0 if model.reg_token is None else model.reg_token.shape[1])
    plain &= model.cls_token is not None and model.num_prefix_tokens == tokens
    rope = getattr(model, 'rope', None)
    # Positions are added, or they turn queries and keys as in DINOv3. In EVA's networks they do both.
    turned = type(rope).__name__ == 'RotaryEmbeddingDinoV3'
    plain &= rope is None or turned
    plain &= all(hasattr(block, 'attn') for block in model.blocks)
    return plain and not isinstance(model.norm, nn.Identity) and turned == (model.pos_embed is None)


def resize_positions(positions: Tensor, grid: Sequence[int], new_grid: Sequence[int]) -> Tensor:
    """Bicubic interpolation of position embeddings, (1, E + h w, C) -> (1, E + h' w', C).

    The first E embeddings, of class and register tokens, stay as they are; E may be 0. ``grid`` is h, w and
    ``new_grid`` h', w'.
    """
    if tuple(grid) == tuple(new_grid):
        return positions
    extra = positions.shape[1] - math.prod(grid)
    token, patches = positions[:, :extra], positions[:, extra:]
    patches = patches.unflatten(1, tuple(grid)).permute(0, 3, 1, 2)
    patches = F.interpolate(patches, tuple(new_grid), mode='bicubic', align_corners=False)
    return torch.cat([token, patches.flatten(2).transpose(1, 2)], dim=1)


def sincos_positions(
    grid: Sequence[int], dim: int, temperature: float = 10000.0, order: str = 'yx'
) -> Tensor:
    """A fixed position embedding: [sin y, cos y, sin x, cos x], and zero for the class token.

    This is the one of MoCo v3, whose code calls the first half "w", although its index runs along the rows.
    ``order='xy'`` is that of MAE, whose first half encodes x. Checkpoints of the two cannot be interchanged.

    Args:
        grid: h, w.
        dim: channels, a multiple of 4.
        temperature: each quarter of the channels has the frequencies temperature^(-4 i / dim).
        order: ``'yx'`` or ``'xy'``.

    Returns:
        (1, 1 + h w, dim).

    Raises:
        ValueError: ``dim`` is no multiple of 4.
    """
    if dim % 4:
        raise ValueError(f'sin-cos positions need a multiple of 4 channels, got {dim}')
    frequencies = temperature ** (-torch.arange(dim // 4) / (dim // 4))
    y, x = torch.meshgrid(*(torch.arange(n) for n in grid), indexing='ij')
    places = (x, y) if order == 'xy' else (y, x)
    angles = [place.reshape(-1, 1) * frequencies for place in places]  # (h w, dim / 4)
    table = torch.cat([f(angle) for angle in angles for f in (torch.sin, torch.cos)], dim=1)
    return torch.cat([table.new_zeros(1, dim), table])[None]
