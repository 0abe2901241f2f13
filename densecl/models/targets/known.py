"""What was done to a view, as the data worker wrote it down."""

from dataclasses import replace

from torch import Tensor, nn

from densecl.registry import MODELS
from densecl.structures import Views


@MODELS.register_module()
class Known(nn.Module):
    """The answers that come with the views -> one level (B, 1, 1, 1): a code for :class:`CodeCrossEntropy`.

    Pretext tasks are of this kind: which way is up (``RotatedView``), which puzzle this is (``JigsawPatches``
    with ``permutations``), where the second patch lies (``ContextPairs``).
    """

    def seen(self, views: Views) -> Views:
        """The views with their answers in place of images; without any a ValueError."""
        if views.answers is None:
            raise ValueError(
                "target=dict(type='Known'): the views have no answers; take views that know what was done to "
                "them, such as dict(type='RotatedView') among the views of MultiView"
            )
        return replace(views, images=list(views.answers[..., None, None, None].float()), corrupted=None)

    def forward(self, images: Tensor) -> tuple[Tensor]:
        return (images,)
