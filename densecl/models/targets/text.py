"""The text of an image, read by an encoder of its own."""

from dataclasses import replace

from torch import Tensor, nn

from densecl.registry import MODELS
from densecl.structures import Views


@MODELS.register_module()
class Text(nn.Module):
    """(B, L) int64 tokens of a text for each image -> one level (B, D, 1, 1); trained with the head.

    The keys of ``units='Image'`` are the texts' vectors; a gradient flows into the tower (CLIP, Radford et
    al., 2021, section 2.3). Data sets give tokens with ``captions=``; where these are several a sample,
    (B, T, L), view v has the caption v modulo T.

    Args:
        tower: config of a module that maps (B, L) int64 to (B, D), ``dict(type='TextTransformer',
            projection=512, ...)`` for example; D is what the head's ``projector`` gives.
    """

    #: Whether the pretrainer trains it; other targets are frozen.
    trained = True

    def __init__(self, tower: dict | nn.Module) -> None:
        super().__init__()
        self.tower = MODELS.build(tower) if isinstance(tower, dict) else tower

    def seen(self, views: Views) -> Views:
        """The views with tokens in place of images.

        Raises:
            ValueError: the batch has none.
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
