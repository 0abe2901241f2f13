"""The text of an image, encoded by its own network, as a target."""

from dataclasses import replace

from torch import Tensor, nn

from densecl.registry import MODELS
from densecl.structures import Views


@MODELS.register_module()
class Text(nn.Module):
    """(B, L) int64 token ids, a text for each image -> one level (B, D, 1, 1). It is trained with the head.

    The keys of ``units='Image'`` are the texts' vectors, and the text encoder gets a gradient (CLIP, Radford
    et al., 2021, section 2.3). Data sets give tokens with ``captions=``. If a sample has T captions,
    (B, T, L), view v uses caption v modulo T.

    Args:
        tower: config of the text encoder, which maps (B, L) int64 to (B, D), for example
            ``dict(type='TextTransformer', projection=512, ...)``. D is the output width of the head's
            ``projector``.
    """

    #: Whether the pretrainer trains it; other targets are frozen.
    trained = True

    def __init__(self, tower: dict | nn.Module) -> None:
        super().__init__()
        self.tower = MODELS.build(tower) if isinstance(tower, dict) else tower

    def seen(self, views: Views) -> Views:
        """The views with tokens in place of images.

        Raises:
            ValueError: the batch has no tokens.
        """
        if views.tokens is None:
            raise ValueError(
                "target=dict(type='Text') reads tokens, but the batch has none: give the data set a source "
                'of texts and captions=dict(tokenizer=...), see docs/text.md'
            )
        several = views.tokens.ndim == 3
        each = views.tokens.unbind(1) if several else (views.tokens,)
        return replace(views, images=[each[view % len(each)] for view in range(len(views))])

    def forward(self, tokens: Tensor) -> tuple[Tensor]:
        return (self.tower(tokens)[..., None, None],)
