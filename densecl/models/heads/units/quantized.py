"""Cells that are quantised with a code book before the prediction."""

from torch import Tensor, nn

from densecl.registry import MODELS

from .cells import Cells


@MODELS.register_module()
class QuantizedCells(Cells):
    """Every cell of a level: it is quantised to a code, and the code is decoded (VQ-KD, Peng et al., 2022).

    The projector is a :class:`~densecl.models.necks.QuantizedDecoder`, whose codes move once a step. The keys
    are not quantised: they are a level of the head's ``target``, such as
    :class:`~densecl.models.targets.TeacherFeatures`.

    Args:
        level: which level of the backbone (or neck), and of the target, is read.
    """

    gives = Cells.gives | {'codes'}

    def __init__(self, level: int = -1) -> None:
        super().__init__(level)

    def project(self, projector, inputs, joint):
        if isinstance(projector, nn.Identity):  # the target's own
            return inputs
        return {key: projector(maps) for key, maps in inputs.items()}

    def predict(self, predictor, projections):
        return predictor(projections[0])

    def record(self, chosen, inputs, projections, predictions, views):
        if isinstance(projections, Tensor):
            return super().record(chosen, inputs, projections, predictions, views)
        maps, found = projections
        units = super().record(chosen, inputs, maps, predictions, views)
        units.embeddings, units.codes = (x.flatten(1, 2) for x in (found.embeddings, found.codes))
        units.log = found.log
        return units

    def remember(self, projector):
        projector.quantizer.move()
