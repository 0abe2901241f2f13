"""The base class of matching rules, and unions and intersections of rules."""

import functools
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from densecl.messages import check_choice
from densecl.registry import MODELS
from densecl.structures import Batch, Match, Place, Units


class Rule(nn.Module):
    """Says which units of the key view answer those of the query view.

    ``forward`` counts no unit that is not ``valid``: neither queries (:attr:`Match.valid`, or no answer in
    the mask) nor keys (:func:`among_valid`). The two views may have units of different number, N and M.
    """

    #: Properties that units must have (``UnitProducer.gives``).
    needs: ClassVar[frozenset[str]] = frozenset()
    #: Whether every unit has exactly one answer, as some objectives need.
    one_answer: ClassVar[bool] = False
    #: Whether it replaces the units by other records, chosen rows or a common grid (``Match.read``).
    reads: ClassVar[bool] = False
    #: Whether candidates of other images may be answers, too (``Match.across``).
    across: ClassVar[bool] = False
    #: Whether :class:`AnyOf` and :class:`AllOf` accept it: not if it selects, replaces or weights units.
    combines: bool = True

    @torch.no_grad()
    def __call__(self, query: Units, key: Units, batch: Batch) -> Match:
        """Match the units of B images, without gradient; see :class:`~densecl.structures.Match`.

        Raises:
            TypeError: ``forward`` returned something else, or its tensors have another shape or type.
        """
        match = super().__call__(query, key, batch)
        self._check(match, *query.vectors.shape[:2], key.vectors.shape[1])
        return match

    def _check(self, match: Match, images: int, queries: int, keys: int) -> None:
        """Check shapes and types, which the host knows, as tensors of other shapes might be broadcast."""
        name = type(self).__name__
        if not isinstance(match, Match) or (match.index is None) == (match.mask is None):
            got = f'{match!r:.60}'
            raise TypeError(f'matching={name} must return a Match with either index or mask, got {got}')
        if match.read is not None:  # the units are others, whose number only the objective sees
            queries = keys = None
        wanted = dict(index=(torch.int64, (images, queries)), mask=(torch.bool, (images, queries, keys)))
        wanted |= dict(valid=(torch.bool, (images, queries)), weight=(None, (images, queries)))
        for field, (dtype, shape) in wanted.items():
            x = getattr(match, field)
            if x is None:
                continue
            alike = x.ndim == len(shape) and all(b in (a, None) for a, b in zip(x.shape, shape, strict=True))
            if not alike or dtype not in (x.dtype, None):
                form = tuple('any' if side is None else side for side in shape)
                raise TypeError(
                    f'matching={name}: {field} must be {dtype or "a float tensor"} of {form}, '
                    f'got {x.dtype} of {tuple(x.shape)}'
                )

    def compare(self, of: str) -> None:
        """Choose the vectors to compare: ``'features'`` of the backbone, or ``'projections'``."""
        check_choice(f'{type(self).__name__}: of', of, ('features', 'projections'))
        self.compared = 'features' if of == 'features' else 'vectors'
        self.needs = frozenset({'features'} if of == 'features' else ())


def among_valid(mask: Tensor, query: Units, key: Units) -> Tensor:
    """The mask (B, N, M), false for units that are not valid."""
    if query.valid is not None:
        mask = mask & query.valid[:, :, None]
    return mask if key.valid is None else mask & key.valid[:, None]


def among_shown(mask: Tensor, query: Place, key: Place) -> Tensor:
    """The mask (B, N, M), false for units of warped views whose centres lie outside of the photo."""
    inside, other = query.in_photo(), key.in_photo()
    if inside is not None:
        mask = mask & inside[:, :, None]
    return mask if other is None else mask & other[:, None]


class _Combined(Rule):
    """Base class of :class:`AnyOf` and :class:`AllOf`."""

    def __init__(self, rules: Sequence[str | dict]) -> None:
        super().__init__()
        name = type(self).__name__
        if len(rules) < 2:
            raise ValueError(f'{name}: rules must be two or more, got {list(rules)}')
        self.rules = nn.ModuleList(MODELS.build(dict(type=r) if isinstance(r, str) else r) for r in rules)
        for rule in self.rules:
            if not rule.combines or rule.across:
                raise ValueError(
                    f'{name}: {type(rule).__name__} cannot be combined; take MostSimilar, ByLocation, '
                    'SetSimilarity, SameRow or SameId (without share_repeats)'
                )
        self.needs = frozenset().union(*(rule.needs for rule in self.rules))

    def forward(self, query, key, batch):
        count = key.vectors.shape[1]
        found = [rule(query, key, batch) for rule in self.rules]
        for rule, match in zip(self.rules, found, strict=True):
            if any(x is not None for x in (match.weight, match.read, match.across)):
                raise TypeError(
                    f'{type(self).__name__}: {type(rule).__name__} weights or replaces units, or answers '
                    'across images, which would be lost; a rule that does so has combines = False'
                )
        return Match(mask=functools.reduce(self.join, (match.answers(count) for match in found)))


@MODELS.register_module()
class AnyOf(_Combined):
    """The union: the answers that any of the ``rules`` finds."""

    join = staticmethod(torch.logical_or)


@MODELS.register_module()
class AllOf(_Combined):
    """The intersection: the answers that all of the ``rules`` find."""

    join = staticmethod(torch.logical_and)
