"""Vector quantisation: a vector is replaced by the nearest of K codes, which are moving averages."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from densecl.distributed import all_gather, all_reduce
from densecl.numerics import full_precision, no_autocast, unit
from densecl.registry import MODELS

from .mlp import ConvMLP

# Products of rows and codes that are in memory at a time: 256 MiB in float32.
_TILE = 1 << 26


class Quantized(NamedTuple):
    """The output of a quantiser for a map.

    Attributes:
        embeddings: (B, h, w, E) unit vectors, with gradient.
        codes: (B, h, w, E), the code of each, without gradient.
        ids: (B, h, w) int64, the numbers of the codes, from 0.
        log: values for the log, see :meth:`VectorQuantizer.log`.
    """

    embeddings: Tensor
    codes: Tensor
    ids: Tensor
    log: dict[str, Tensor]

    def passed(self) -> Tensor:
        """The codes (B, h, w, E); their gradient is passed to the embeddings (straight-through)."""
        return self.embeddings + (self.codes - self.embeddings).detach()


@torch.no_grad()
@no_autocast
def nearest(rows: Tensor, centres: Tensor) -> Tensor:
    """The centre with the smallest distance, (N, C) and (K, C) -> (N,) int64; the first of equal ones."""
    centres = centres.to(rows.dtype)
    half = centres.square().sum(1) / 2
    tiles = rows.split(max(1, _TILE // len(centres)))
    return torch.cat([(tile @ centres.T - half).argmax(-1) for tile in tiles])


@torch.no_grad()
def code_totals(rows: Tensor, ids: Tensor, codes: int) -> Tensor:
    """The sum of each code's rows, and their number: rows (N, E) and their codes (N,) -> (K, E + 1)."""
    counted = torch.cat([rows, torch.ones_like(rows[:, :1])], 1)
    return counted.new_zeros(codes, counted.shape[1]).index_add_(0, ids, counted)


@torch.no_grad()
def moved_codes(codebook: Tensor, totals: Tensor, decay: float) -> Tensor:
    """The codes after one step: ``unit(decay * code + (1 - decay) * unit(sum of its rows))``.

    A code without rows does not move (VQ-KD, Peng et al., 2022, and its code). With ``decay=0`` this is a
    step of k-means by cosine.

    Args:
        codebook: (K, E) unit vectors.
        totals: (K, E + 1), see :func:`code_totals`.
        decay: share of the code that is kept.
    """
    sums, counts = totals[:, :-1], totals[:, -1:]
    return unit(decay * codebook + (1 - decay) * torch.where(counts > 0, unit(sums), codebook))


@torch.no_grad()
def first_codes(rows: Tensor, codes: int, iterations: int) -> Tensor:
    """K-means by cosine on the rows of all processes: unit rows (N, E) of this process -> (K, E).

    It starts with every (n / K)-th of the n rows, the same rows in every process.
    """
    everything = all_gather(rows)
    centres = everything[torch.arange(codes, device=rows.device) * len(everything) // codes]
    for _ in range(iterations):
        totals = all_reduce(code_totals(rows, nearest(rows, centres), codes))
        centres = moved_codes(centres, totals, 0.0)
    return centres


class VectorQuantizer(nn.Module):
    """Linear, Tanh, Linear, L2 normalisation, then the nearest of K codes (VQ-KD, BEiT v2, Peng et al.,
    2022).

    Codes are not parameters. They start as the k-means centres of the first batch. Once an optimiser step,
    they move as a moving average of the vectors that they replace, see :meth:`move`. A batch is quantised
    with the codes from before it. Codes use the vectors of all processes, and are equal in all of them.

    Args:
        channels: number of channels of a cell.
        codes: number K of codes.
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
        """Read from the buffer whether there are codes, such as those of an earlier run: these are kept."""
        self._begun = bool(self.codebook.any())

    def embeddings(self, maps: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, h, w, E) unit vectors, in float32 or better."""
        with torch.autocast(maps.device.type, enabled=False):
            return unit(self.embed(full_precision(maps)).permute(0, 2, 3, 1))

    def forward(self, maps: Tensor) -> Quantized:
        """(B, C, h, w) -> embeddings, codes and numbers. In training it collects sums for :meth:`move`."""
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
        """Move the codes to the vectors assigned to them since the last call, in all processes."""
        totals = all_reduce(self.totals)
        self.codebook.copy_(moved_codes(self.codebook, totals, self.decay))
        self.usage.lerp_(totals[:, -1], 1 - self.decay)
        self.totals.zero_()

    @torch.no_grad()
    def log(self) -> dict[str, Tensor]:
        """``used`` and ``perplexity``.

        ``used`` is the share of codes that were assigned to a cell in about the last 1 / (1 - decay) steps.
        ``perplexity`` is that of the moving frequencies of codes, divided by K: 1 if all codes are equally
        frequent.
        """
        shares = self.usage / self.usage.sum().clamp(min=1e-12)
        even = torch.special.entr(shares).sum().exp() / len(shares)
        return {'used': (self.usage > (1 - self.decay) / math.e).to(even.dtype).mean(), 'perplexity': even}


@MODELS.register_module()
class QuantizedDecoder(nn.Module):
    """A :class:`VectorQuantizer`, and a decoder that predicts features from its codes (VQ-KD).

    Args:
        quantizer: arguments of the quantiser.
        decoder: config of a module that maps codes (B, E, h, w) to a level (B, D, h, w), such as a
            ``TimmViT`` with ``patch_size=1`` and ``in_chans=E``.
        output: config of a module that maps this level to the features, such as a ``ConvMLP``.
    """

    def __init__(self, quantizer: dict, decoder: dict, output: dict) -> None:
        super().__init__()
        self.quantizer = VectorQuantizer(**quantizer)
        self.decoder = MODELS.build(decoder)
        self.output = MODELS.build(output)

    def forward(self, maps: Tensor) -> tuple[Tensor, Quantized]:
        """(B, C, h, w) -> the predicted features (B, F, h, w), and the quantiser's output."""
        found = self.quantizer(maps)
        levels = self.decoder(found.passed().permute(0, 3, 1, 2))
        return self.output(levels if isinstance(levels, Tensor) else levels[-1]), found
