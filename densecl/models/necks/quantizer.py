"""Vector quantisation: a vector is replaced by the nearest of K codes, which follow what they stand for."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from densecl.distributed import all_gather, all_reduce
from densecl.numerics import full_precision, no_autocast, unit
from densecl.registry import MODELS

from .mlp import ConvMLP

# products of rows and codes in memory at once: 256 MiB in float32
_TILE = 1 << 26


class Quantized(NamedTuple):
    """What a quantiser makes of a map.

    Attributes:
        embeddings: (B, h, w, E) unit vectors, with gradient.
        codes: (B, h, w, E), the code of each, without gradient.
        ids: (B, h, w) int64, its number, from 0.
        log: what is worth watching, see :meth:`VectorQuantizer.log`.
    """

    embeddings: Tensor
    codes: Tensor
    ids: Tensor
    log: dict[str, Tensor]

    def passed(self) -> Tensor:
        """The codes, whose gradient goes to the embeddings as it is (straight-through)."""
        return self.embeddings + (self.codes - self.embeddings).detach()


@torch.no_grad()
@no_autocast
def nearest(rows: Tensor, centres: Tensor) -> Tensor:
    """(N, C) and (K, C) -> (N,) int64, the centre at the smallest distance; of equal ones the first."""
    centres = centres.to(rows.dtype)
    half = centres.square().sum(1) / 2
    tiles = rows.split(max(1, _TILE // len(centres)))
    return torch.cat([(tile @ centres.T - half).argmax(-1) for tile in tiles])


@torch.no_grad()
def code_totals(rows: Tensor, ids: Tensor, codes: int) -> Tensor:
    """(N, E) rows and their (N,) codes -> (K, E + 1): the sum of each code's rows, and their number."""
    counted = torch.cat([rows, torch.ones_like(rows[:, :1])], 1)
    return counted.new_zeros(codes, counted.shape[1]).index_add_(0, ids, counted)


@torch.no_grad()
def moved_codes(codebook: Tensor, totals: Tensor, decay: float) -> Tensor:
    """The codes after one step: ``unit(decay * code + (1 - decay) * unit(sum of its rows))``.

    A code without rows stays (VQ-KD, Peng et al., 2022, and its code). With ``decay=0`` it is a step of
    k-means by cosine.

    Args:
        codebook: (K, E) unit vectors.
        totals: (K, E + 1), see :func:`code_totals`.
        decay: share that is kept.
    """
    sums, counts = totals[:, :-1], totals[:, -1:]
    return unit(decay * codebook + (1 - decay) * torch.where(counts > 0, unit(sums), codebook))


@torch.no_grad()
def first_codes(rows: Tensor, codes: int, iterations: int) -> Tensor:
    """(N, E) unit rows of this process -> (K, E): k-means by cosine of the rows of all processes.

    It begins with K of them at equal distances, the same in every process, and takes so many iterations.
    """
    everything = all_gather(rows)
    centres = everything[torch.arange(codes, device=rows.device) * len(everything) // codes]
    for _ in range(iterations):
        totals = all_reduce(code_totals(rows, nearest(rows, centres), codes))
        centres = moved_codes(centres, totals, 0.0)
    return centres


class VectorQuantizer(nn.Module):
    """Linear, Tanh, Linear, length 1, and the nearest of K codes (VQ-KD, BEiT v2, Peng et al., 2022).

    Codes are no parameters: they begin as k-means of the first batch, and follow the vectors that they stand
    for as a moving average, once an optimiser step, see :meth:`move`. A batch is assigned with the codes as
    they were before it. All processes have the same codes, of what all of them saw.

    Args:
        channels: of a cell.
        codes: their number K.
        dim: width E of a code.
        decay: share of a code that is kept at a step.
        iterations: of k-means on the first batch.
    """

    def __init__(
        self, channels: int, codes: int, dim: int = 32, decay: float = 0.99, iterations: int = 10
    ) -> None:
        super().__init__()
        if codes < 2 or not 0 <= decay < 1:
            raise ValueError(
                f'VectorQuantizer: codes must be at least 2 and decay in [0, 1), got {codes} and {decay}'
            )
        self.embed = ConvMLP((channels, channels, dim), activation='Tanh', init='trunc_normal')
        self.decay, self.iterations = decay, iterations
        self.register_buffer('codebook', torch.zeros(codes, dim))
        self.register_buffer('usage', torch.zeros(codes))
        self.register_buffer('totals', torch.zeros(codes, dim + 1), persistent=False)
        self._begun = False

    def _load_from_state_dict(self, *args, **kwargs) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self.look_at_buffers()

    def look_at_buffers(self) -> None:
        """Find out again whether there are codes: those of a run, this one or an earlier one, go on."""
        self._begun = bool(self.codebook.any())

    def embeddings(self, maps: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, h, w, E) unit vectors, in float32 or better."""
        with torch.autocast(maps.device.type, enabled=False):
            return unit(self.embed(full_precision(maps)).permute(0, 2, 3, 1))

    def forward(self, maps: Tensor) -> Quantized:
        """(B, C, h, w) -> embeddings, codes, numbers; in training the codes will follow."""
        z = self.embeddings(maps)
        rows = z.detach().flatten(0, 2)
        learns = self.training and torch.is_grad_enabled()
        if learns and not self._begun:
            self.codebook.copy_(first_codes(rows, len(self.codebook), self.iterations))
            self._begun = True
        ids = nearest(rows, self.codebook)
        if learns:
            self.totals += code_totals(rows, ids, len(self.codebook))
        return Quantized(z, self.codebook[ids].view_as(z), ids.view(z.shape[:3]), self.log())

    @torch.no_grad()
    def move(self) -> None:
        """Let the codes follow what was assigned to them since the last time, in all processes."""
        totals = all_reduce(self.totals)
        self.codebook.copy_(moved_codes(self.codebook, totals, self.decay))
        self.usage.lerp_(totals[:, -1], 1 - self.decay)
        self.totals.zero_()

    @torch.no_grad()
    def log(self) -> dict[str, Tensor]:
        """``used``: the share of codes that a cell had lately, in about 1 / (1 - decay) steps; and
        ``perplexity``, of their moving frequencies, as a share of K: 1 where all codes are equally frequent.
        """
        shares = self.usage / self.usage.sum().clamp(min=1e-12)
        even = torch.special.entr(shares).sum().exp() / len(shares)
        return {'used': (self.usage > (1 - self.decay) / math.e).to(even.dtype).mean(), 'perplexity': even}


@MODELS.register_module()
class QuantizedDecoder(nn.Module):
    """A :class:`VectorQuantizer`, and what makes features again of its codes (VQ-KD).

    Args:
        quantizer: arguments of the quantiser.
        decoder: module config of what maps the (B, E, h, w) codes to a level (B, D, h, w), such as a
            ``TimmViT`` with ``patch_size=1`` and ``in_chans=E``.
        output: module config of what maps that level to the features, such as a ``ConvMLP``.
    """

    def __init__(self, quantizer: dict, decoder: dict, output: dict) -> None:
        super().__init__()
        self.quantizer = VectorQuantizer(**quantizer)
        self.decoder = MODELS.build(decoder)
        self.output = MODELS.build(output)

    def forward(self, maps: Tensor) -> tuple[Tensor, Quantized]:
        """(B, C, h, w) -> the features (B, F, h, w), and what the quantiser made."""
        found = self.quantizer(maps)
        levels = self.decoder(found.passed().permute(0, 3, 1, 2))
        return self.output(levels if isinstance(levels, Tensor) else levels[-1]), found
