"""Fills the frozen networks of targets: weights, centres of visual words, codes."""

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from densecl.models.targets import DALLETokens, FrozenNetwork, KMeansTokens, Tokens, VQKDTokens
from densecl.numerics import unit
from densecl.transfer import find_start, read_weights
from densecl.transfer.prefixes import under
from densecl.transfer.teachers import use_start

from .clustering import kmeans

# Official names of VQ-KD's quantiser -> ours.
_OFFICIAL = {
    'encode_task_layer.0.': 'embed.0.',
    'encode_task_layer.2.': 'embed.2.',
    'quantize.embedding.weight': 'codebook',
}


def fill(target: FrozenNetwork, what: str | Path) -> list[str]:
    """Fill a target from weights: a file, or a name that :func:`~densecl.transfer.find_start` knows.

    The centres of a :class:`KMeansTokens` come from :func:`fill_centres`; everything else is in the weights.

    Returns:
        Lines to print: the origin of the weights.

    Raises:
        RuntimeError, ValueError: the weights belong to another network.
    """
    if isinstance(target, DALLETokens):
        return _use_dalle(target, what)
    if isinstance(target, VQKDTokens) and Path(what).is_file():
        tensors = read_weights(what).tensors
        if 'quantize.embedding.weight' in tensors:
            return _use_official_vqkd(target, tensors)
        _use_codes(target, tensors, what)
    start = find_start(what)
    use_start(target, start)
    return start.lines()


def _use_codes(target: VQKDTokens, tensors: dict[str, Tensor], source: str | Path) -> None:
    """Load the quantiser of a checkpoint of densecl."""
    found = [k.removesuffix('codebook') for k in tensors if k.endswith('.projector.quantizer.codebook')]
    if not found:
        raise ValueError(
            f'{source} has no code book: --start of VQKDTokens is the checkpoint of a VQ-KD run, as that of '
            'configs/beit/vqkd_vit-tiny_1xb64-coslr-16e_photos.py'
        )
    target.quantizer.load_state_dict(under(tensors, found[0]))


def _use_official_vqkd(target: VQKDTokens, tensors: dict[str, Tensor]) -> list[str]:
    """Load a released tokenizer of BEiT v2; its transformer has separate biases of query and value."""
    encoder = under(tensors, 'encoder.')
    for key in [k for k in encoder if k.endswith('.attn.q_bias')]:
        query, value = encoder.pop(key), encoder.pop(key.replace('q_bias', 'v_bias'))
        encoder[key.replace('q_bias', 'qkv.bias')] = torch.cat([query, torch.zeros_like(query), value])
    target.backbone.load_state_dict({k.replace('fc_norm.', 'norm.'): v for k, v in encoder.items()})
    state = {'usage': target.quantizer.usage}
    for theirs, ours in _OFFICIAL.items():
        for key, tensor in tensors.items():
            if key.startswith(theirs):
                name = ours + key.removeprefix(theirs)
                state[name] = tensor[..., None, None] if name.endswith('weight') else tensor
    target.quantizer.load_state_dict(state)
    for name in ('mean', 'std'):
        getattr(target, name).fill_(127.5)
    return ['a released VQ-KD tokenizer of BEiT v2 (MIT)']


def _use_dalle(target: DALLETokens, source: str | Path) -> list[str]:
    target.backbone.load_state_dict(read_weights(source).tensors)
    return ["the encoder of DALL-E's discrete autoencoder"]


@torch.no_grad()
def code_shares(target: Tokens, batches: Iterable[Tensor]) -> Tensor:
    """(K,) for each code, the share of all cells that have it.

    Args:
        target: with its weights.
        batches: each (B, 3, H, W), normalised as the target expects.
    """
    target.eval()
    found = [torch.bincount(target(images)[0].long().flatten(), minlength=target.codes) for images in batches]
    counts = torch.stack(found).sum(0)
    return counts / counts.sum()


@torch.no_grad()
def fill_centres(
    target: KMeansTokens, batches: Iterable[Tensor], rows: int = 100_000, seed: int = 0
) -> Tensor:
    """Run k-means over the cells of images and give the centres to ``target``.

    Args:
        target: with the weights of its network.
        batches: each (B, 3, H, W), normalised as the target expects.
        rows: number of randomly drawn cells to use; all if there are fewer.
        seed: seed of this draw and of the first centres.

    Returns:
        (K,) for each code, the share of the cells that have it.

    Raises:
        ValueError: fewer cells than codes.
    """
    target.eval()
    found = torch.cat(
        [target.features(images).flatten(2).transpose(1, 2).flatten(0, 1) for images in batches]
    )
    generator = torch.Generator().manual_seed(seed)
    found = found[torch.randperm(len(found), generator=generator)[:rows]]
    codes = len(target.centres)
    if len(found) < codes:
        raise ValueError(f'{len(found)} cells for {codes} codes: give more images, or fewer codes')
    target.offset.copy_(found.mean(0))
    centres, ids = kmeans(unit(found - target.offset), codes, generator)
    target.centres.copy_(centres)
    return torch.bincount(ids, minlength=codes) / len(ids)
