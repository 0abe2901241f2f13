"""Numbers of visual words: from k-means, from a trained quantiser, from DALL-E's autoencoder."""

import torch
from torch import Tensor

from densecl.models.necks.quantizer import VectorQuantizer, nearest
from densecl.numerics import unit
from densecl.registry import MODELS

from .network import FrozenNetwork


class Tokens(FrozenNetwork):
    """(B, 3, H, W) images -> one level (B, 1, H / p, W / p): the number of each patch's code, from 0.

    The arguments are those of :class:`FrozenNetwork`.
    """

    #: Number of codes.
    codes: int

    def ids(self, features: Tensor) -> Tensor:
        """Features (B, C, h, w) -> numbers of codes (B, h, w) int64."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> tuple[Tensor]:
        features = self.features(images)
        return (self.ids(features)[:, None].to(features.dtype),)


@MODELS.register_module()
class KMeansTokens(Tokens):
    """The number of the nearest of K k-means centres to the features of a trained network.

    It replaces the codes of a discrete autoencoder in BEiT (Bao et al., ICLR 2022). The k-means is of the
    features minus their mean, normalised to unit length.

    Args:
        codes: the number K of centres.
        **kwargs: see :class:`.FrozenNetwork`.
    """

    def __init__(self, backbone: dict, channels: int, codes: int, **kwargs) -> None:
        super().__init__(backbone, channels, **kwargs)
        self.codes = codes
        self.register_buffer('offset', torch.zeros(channels))
        self.register_buffer('centres', torch.zeros(codes, channels))

    def ids(self, features):
        rows = unit(features.permute(0, 2, 3, 1) - self.offset)
        return nearest(rows.flatten(0, 2), self.centres).view(rows.shape[:3])


@MODELS.register_module()
class VQKDTokens(Tokens):
    """The codes of a tokenizer that was trained by VQ-KD (BEiT v2, Peng et al., 2022).

    Args:
        codes: the number K of codes.
        dim: width of a code.
        **kwargs: see :class:`.FrozenNetwork`; the network is the tokenizer's encoder.
    """

    def __init__(self, backbone: dict, channels: int, codes: int, dim: int = 32, **kwargs) -> None:
        super().__init__(backbone, channels, **kwargs)
        self.codes = codes
        self.quantizer = VectorQuantizer(channels, codes, dim)

    def ids(self, features):
        return self.quantizer(features).ids


@MODELS.register_module()
class DALLETokens(Tokens):
    """The codes of DALL-E's discrete autoencoder (Ramesh et al., 2021), which BEiT predicts.

    Its encoder has a stride of 8 px: for patches of 16 px the image is resized to half its sides. Pixels are
    mapped from [0, 1] to [0.1, 0.9].

    Args:
        patch: side of a patch of the image in pixels.
        file: the file that ``tools/make_tokens.py`` wrote.
        codes: the number K of codes.
        width: number of channels of the encoder's first layers.
    """

    def __init__(self, patch: int, file: str, codes: int = 8192, width: int = 256) -> None:
        super().__init__(dict(type='DALLEEncoder', codes=codes, width=width), codes, patch, 8, file)
        self.codes = codes
        self.mean.fill_(-0.1 / 0.8 * 255)  # 0.8 x + 0.1 of pixels from 0 to 1
        self.std.fill_(255 / 0.8)

    def ids(self, features):
        return features.argmax(1)
