"""Whether a head's choices fit together, said in one sentence when it is built."""

from collections.abc import Iterable

from torch import nn

from densecl.models.losses.objective import Objective
from densecl.models.matching import Rule

from .units import UnitProducer

#: Property -> what it is, and which units have it.
_UNITS = {
    'grid': ('cells of a grid', "units='Cells'"),
    'place': ('units whose place in the image is known', "units='Cells' or 'Boxes'"),
    'boxes': ('boxes', "units='Boxes'"),
    'ids': ('units with ids', "units='Boxes' or 'Masks'"),
    'features': ('units that have features of the backbone', "units='Cells'"),
    'scores': ('scores of prototypes', "units='Prototypes'"),
    'embeddings': ('embeddings in front of prototypes', "units='Prototypes'"),
    'others': ('places of the map as further candidates', "units='Windows'"),
}


def check(units: UnitProducer, rules: Iterable[Rule], objective: Objective) -> None:
    """Compare what rules and objective need with what is given.

    Raises:
        ValueError: something is missing; the sentence names the field, and what would do.
    """
    for rule in rules:
        _give('matching', rule, rule.needs, units)
        if 'one answer' in objective.needs and not rule.one_answer:
            raise ValueError(
                f'objective={_name(objective)} compares row with row: it needs one answer a unit, which '
                f"matching={_name(rule)} does not promise; take matching='SameRow' or 'MostSimilar', or "
                "objective='InfoNCE' or 'Cosine'"
            )
    _give('objective', objective, objective.needs - {'one answer', 'own'}, units)


def _give(field: str, part: nn.Module, needs: frozenset[str], units: UnitProducer) -> None:
    for missing in sorted(needs - units.gives):
        what, instead = _UNITS[missing]
        raise ValueError(
            f'{field}={_name(part)} needs {what}, which units={_name(units)} do not give; take {instead}, or '
            f'another {field}'
        )


def _name(part: nn.Module) -> str:
    return type(part).__name__
