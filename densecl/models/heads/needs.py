"""Checks that the arguments of a head fit together. They run when the head is built."""

from collections.abc import Iterable, Sequence

from torch import nn

from densecl.models.losses.filters.similar_images import SimilarImages
from densecl.models.losses.objective import Objective
from densecl.models.matching import Rule
from densecl.models.memory import PerImage, Queue

from .pair_weights import PairQuality
from .units import DecodedCells, DetectorBoxes, PatchSet, QuantizedCells, UnitProducer

#: Property of units -> its description, and units that have it; both are for error messages.
_UNITS = {
    'grid': ('cells of a grid', "units='Cells'"),
    'place': ('units whose place in the image is known', "units='Cells' or 'Boxes'"),
    'boxes': ('boxes', "units='Boxes'"),
    'ids': ('units with ids', "units='Boxes' or 'Masks'"),
    'features': ('units that have features of the backbone', "units='Cells'"),
    'scores': ('scores of prototypes', "units='Prototypes'"),
    'embeddings': ('embeddings in front of prototypes', "units='Prototypes'"),
    'others': ('places of the map as further candidates', "units='Windows'"),
    'pooled': ('units as wide as the pooled vectors of other images', "units='Image' or 'Cells'"),
    'always': ('units that every view shows', "units='Image' or 'Cells'"),
    'detections': ("what a detector's heads say", "units='DetectorBoxes'"),
    'labels': ('units with labels of segments', "units='LabelledCells'"),
    'codes': ('units that go through a code book', "units='QuantizedCells'"),
    'single': ('one unit an image', "units='Image'"),
    'equal count': ('as many units in every process', 'hidden_only=False'),
    'several': ('several units an image', "units='Cells' or 'Boxes'"),
}
#: Units that need a projector -> a suitable projector, and a suitable target if they also need a target.
_DECODERS = {
    DecodedCells: ('TransformerDecoder', 'Pixels'),
    QuantizedCells: ('QuantizedDecoder', 'TeacherFeatures'),
    DetectorBoxes: ('DetectorHeads',),
    PatchSet: ('PatchProjector',),
}


def check(
    units: UnitProducer, kinds: Iterable[str | None], rules: Iterable[Rule], objective: Objective
) -> None:
    """Check that the units give what the query's rules and the key's objective need.

    Raises:
        ValueError: something is missing; the message names the argument and what to use instead.
    """
    name = type(objective).__name__
    for rule in rules:
        _give('matching', rule, rule.needs, units, kinds)
        if 'one answer' in objective.needs and not rule.one_answer:
            raise ValueError(
                f'objective={name} compares row with row: it needs one answer a unit, which '
                f"matching={type(rule).__name__} does not promise; take matching='SameRow' or 'MostSimilar', "
                "or objective='InfoNCE' or 'Cosine'"
            )
        if 'rows' in objective.needs and rule.reads:
            raise ValueError(
                f'objective={name} asks for rows that are the units themselves, in whose place '
                f"matching={type(rule).__name__} puts others; take matching='SameRow' or 'MostSimilar'"
            )
        if rule.across and not objective.across:
            raise ValueError(
                f'matching={type(rule).__name__} names answers among candidates of other images: it needs an '
                f'objective that meets these, which objective={name} as given does not; take '
                "objective=dict(type='InfoNCE', queue=0, batch='views'), or matching='SameRow'"
            )
    _give('objective', objective, objective.needs - {'one answer', 'own', 'rows'}, units, kinds)


def check_decoder(units: UnitProducer, projector: nn.Module, target: str | nn.Module | None) -> None:
    """Check that units made by a decoder have a projector, and a target that the decoder does not make.

    Raises:
        ValueError: one is missing; the message names the argument and what to use instead.
    """
    there = {'projector': not isinstance(projector, nn.Identity), 'target': target is not None}
    examples = next((pair for kind, pair in _DECODERS.items() if isinstance(units, kind)), ())
    for (field, given), instead in zip(there.items(), examples, strict=False):
        if not given:
            raise ValueError(
                f"units={type(units).__name__} needs a {field} of the head's own; give "
                f'{field}=dict(type={instead!r}, ...)'
            )


def check_pooling(units: UnitProducer, projector: nn.Module) -> None:
    """Check that a projector gets the whole map if, and only if, it pools by itself.

    Raises:
        ValueError: it is not so; the message names the argument and what to use instead.
    """
    pools, wanted = getattr(projector, 'reads_map', False), getattr(units, 'projected', None) == 'map'
    if pools and not wanted:
        raise ValueError(
            f'projector={type(projector).__name__} pools a map by itself, but units={type(units).__name__} '
            "give it none; take units=dict(type='Image', project='map')"
        )
    if wanted and not pools:
        raise ValueError(
            f"units=dict(type='{type(units).__name__}', project='map') wants a projector that pools, not "
            f"{type(projector).__name__}; take projector=dict(type='AttentionPool2d', ...), or leave it out"
        )


def check_support(support: Sequence[int], units: UnitProducer, objective: nn.Module) -> None:
    """Check that support views are read by the objective, and that they have one kind of units.

    Raises:
        ValueError: it is not so; the message names the argument and what to use instead.
    """
    if support and (units.kinds or not any(isinstance(part, SimilarImages) for part in objective.modules())):
        raise ValueError(
            f'support={tuple(support)} is only for units of one kind and an objective with '
            "negatives=dict(type='SimilarImages'); leave out one of them"
        )


def check_weighted(weight: nn.Module, target: str | nn.Module | None, objective: Objective) -> None:
    """Check that an objective uses the weights of pairs, and that they are measured on features.

    Raises:
        ValueError: it does not; the message names the argument and what to use instead.
    """
    if not objective.weighs:
        raise ValueError(
            f'pair_weight: objective={type(objective).__name__} gives all pairs the same weight; take '
            "objective='Cosine', 'InfoNCE' or 'Triplet'"
        )
    if isinstance(weight, PairQuality) and isinstance(target, nn.Module):
        raise ValueError(
            'pair_weight=PairQuality compares the features of two views, which '
            f"target={type(target).__name__} does not give; leave out one of them, or take 'GivenQuality'"
        )


def check_both_ways(
    target: str | nn.Module | None,
    predictor: nn.Module | None,
    objective: Objective,
    stop_gradient: bool = False,
) -> None:
    """Check that query and key can be exchanged: both sides must have the same parts.

    Raises:
        ValueError: they have not; the message names the argument and what to use instead.
    """
    if not is_trained(target):
        raise ValueError(
            'both_ways=True makes queries of what target= gives, which has no gradient here: take a target '
            "that is trained, such as dict(type='Text', ...); between two views write pairs=((0, 1), (1, 0))"
        )
    if stop_gradient:
        raise ValueError(
            'both_ways=True makes queries of the keys, to which stop_gradient=True lets none; leave it out'
        )
    if predictor is not None:
        raise ValueError('both_ways=True: a predictor maps queries of one side only; leave predictor out')
    memories = [
        type(part).__name__
        for part in objective.modules()
        if isinstance(part, Queue | PerImage) or getattr(part, 'keeps_keys', False)
    ]
    if memories:
        raise ValueError(
            f'both_ways=True: {memories[0]} of objective={type(objective).__name__} keeps one memory, but '
            "the directions need one each; take an objective without it, such as dict(type='InfoNCE', "
            "queue=0, batch='keys')"
        )


def is_trained(target: str | nn.Module | None) -> bool:
    """Whether ``target`` is an encoder that is trained together with the head."""
    return getattr(target, 'trained', False)


def _give(
    field: str, part: nn.Module, needs: frozenset[str], units: UnitProducer, kinds: Iterable[str | None]
) -> None:
    for kind in kinds:
        for missing in sorted(frozenset(needs) - units.gives_of(kind)):
            what, instead = _UNITS.get(missing, (f'{missing!r}', f'units whose gives have {missing!r}'))
            owner = f'units={type(units).__name__}' + (f' of kind {kind!r}' if kind else '')
            raise ValueError(
                f'{field}={type(part).__name__} needs {what}, which {owner} do not give; take {instead}, '
                f'or another {field}'
            )
