"""Unions and intersections of rules."""

from collections.abc import Sequence

import torch
from torch import nn

from densecl.registry import MODELS
from densecl.structures import Match

from .rule import Rule


class _Combined(Rule):
    """Shared by :class:`AnyOf` and :class:`AllOf`."""

    def __init__(self, rules: Sequence[str | dict]) -> None:
        super().__init__()
        name = type(self).__name__
        if len(rules) < 2:
            raise ValueError(f'{name}: rules must be two or more, got {list(rules)}')
        configs = [dict(type=rule) if isinstance(rule, str) else rule for rule in rules]
        self.rules = nn.ModuleList(MODELS.build(config) for config in configs)
        self.needs = frozenset().union(*(rule.needs for rule in self.rules))

    @torch.no_grad()
    def forward(self, query, key, batch):
        """See :class:`Rule`.

        Raises:
            ValueError: a rule chooses or moves the units themselves, so that there is nothing to combine.
        """
        mask = None
        for rule in self.rules:
            match = rule(query, key, batch)
            if match.read is not None or match.across is not None:
                raise ValueError(
                    f'{type(self).__name__}: {type(rule).__name__} cannot be combined; take MostSimilar, '
                    'ByLocation, SetSimilarity, SameRow or SameId'
                )
            answers = match.answers(key.vectors.shape[1])
            mask = answers if mask is None else self.join(mask, answers)
        return Match(mask=mask)


@MODELS.register_module()
class AnyOf(_Combined):
    """The answers that any of several ``rules`` names."""

    join = staticmethod(torch.logical_or)


@MODELS.register_module()
class AllOf(_Combined):
    """The answers that all of several ``rules`` name."""

    join = staticmethod(torch.logical_and)
