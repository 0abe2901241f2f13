"""One encoder for all views."""

from torch import nn

from densecl.registry import MODELS
from densecl.structures import Views

from .base import Branch, Pretrainer


@MODELS.register_module()
class SharedPretrainer(Pretrainer):
    """Query and key come from the same network (SimCLR, SimSiam, SwAV, Barlow Twins, VICReg, SupCon).

    The gradient flows through both sides unless a head stops it (``stop_gradient=True``). A view is encoded
    once, whatever number of heads and pairs it serves. The arguments are those of :class:`Pretrainer`.
    """

    def branches(self, views: Views) -> tuple[Branch, Branch]:
        """The same branch twice; see :class:`Pretrainer`."""
        asked = self._asked(views, 'online') | self._asked(views, 'target')
        branch = Branch(self.encode, views, asked if self.join_views else ())
        return branch, branch

    def target_projector(self, name: str) -> nn.Module:
        """Head ``name``'s own projector."""
        return self.heads[name].projector
