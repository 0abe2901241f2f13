"""What makes one vector of the patches of an image."""

from torch import Tensor, nn

from densecl.registry import MODELS


@MODELS.register_module()
class PatchProjector(nn.Module):
    """(B, P, C) -> (B, D): each patch projected alike, the P results concatenated, projected together.

    PIRL (Misra and van der Maaten, 2020, section 3.2) has a linear layer each time; DetCo's local head (Xie
    et al., 2021) concatenates right away: ``each=None``.

    Args:
        patches: P, 9 in both.
        together: module config of what maps the (B, P * width) concatenation to (B, D).
        each: module config of what maps each patch's (N, C); None leaves the patches as they are.
    """

    def __init__(self, patches: int, together: dict, each: dict | None = None) -> None:
        super().__init__()
        self.patches = patches
        self.each = nn.Identity() if each is None else MODELS.build(each)
        self.together = MODELS.build(together)

    def forward(self, x: Tensor) -> Tensor:
        """Project; all patches of the batch go through ``each`` together.

        Raises:
            ValueError: for another number of patches.
        """
        if x.ndim != 3 or x.shape[1] != self.patches:
            raise ValueError(
                f'PatchProjector needs (B, {self.patches}, C), got {tuple(x.shape)}; set patches to the '
                'number of patch views'
            )
        each = self.each(x.flatten(0, 1)).unflatten(0, (len(x), self.patches))
        return self.together(each.flatten(1))


def in_reading_order(boxes: Tensor) -> Tensor:
    """How the patches of a square grid are put back: (B, P, 4) boxes -> (B, P) indices, row by row.

    Boxes are x1, y1, x2, y2; those of one row of the grid must lie above all those of the next.
    """
    side = round(boxes.shape[1] ** 0.5)
    centre = boxes[..., :2] + boxes[..., 2:]
    rows = centre[..., 1].argsort(1).unflatten(1, (side, side))  # (B, side, side), by height
    x = centre[..., 0].gather(1, rows.flatten(1)).view_as(rows)
    return rows.gather(2, x.argsort(2)).flatten(1)
