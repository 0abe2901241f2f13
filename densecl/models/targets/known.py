"""Answers that are known without looking at a view: what was done to it, or which image it comes from."""

from dataclasses import replace

from torch import Tensor, nn

from densecl.messages import check_choice
from densecl.registry import MODELS
from densecl.structures import Views


@MODELS.register_module()
class Known(nn.Module):
    """Answers that need no network -> one level (B, 1, 1, 1): a class number for :class:`CodeCrossEntropy`.

    These are the answers of pretext tasks: which way is up (``RotatedView``), which permutation a puzzle has
    (``JigsawPatches`` with ``permutations``), where the second patch lies (``ContextPairs``), which image a
    view comes from.

    Args:
        of: ``'view'``: what the data worker did to the view. ``'image'``: the position of its image in the
            data set (Exemplar, Dosovitskiy et al., NIPS 2014).
        classes: with ``'image'``, the largest number of images.
    """

    def __init__(self, of: str = 'view', classes: int | None = None) -> None:
        super().__init__()
        check_choice('Known: of', of, ('view', 'image'))
        self.of, self.classes = of, classes

    def set_images(self, images: int) -> None:
        """Called by ``DataSizeHook``; a ValueError if there are more images than classes."""
        if self.of == 'image' and self.classes is not None and images > self.classes:
            raise ValueError(
                f'Known: {images} images, each a class, but classes={self.classes}; set '
                f'train_dataloader.dataset.max_images={self.classes}, or classes and the projector'
            )

    def seen(self, views: Views) -> Views:
        """The views with their answers in place of images; a ValueError if they have no answers."""
        if self.of == 'image':
            answers = views.indices.expand(len(views), -1)
        elif views.answers is None:
            raise ValueError(
                "target=dict(type='Known'): the views have no answers; take views that know what was done to "
                "them, such as dict(type='RotatedView') among the views of MultiView"
            )
        else:
            answers = views.answers
        return replace(views, images=list(answers[..., None, None, None].float()), corrupted=None)

    def forward(self, images: Tensor) -> tuple[Tensor]:
        return (images,)
