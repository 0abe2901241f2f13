"""A provider behind rules."""

from collections.abc import Callable, Sequence

import numpy as np

from densecl.registry import PROPOSALS
from densecl.structures import Proposals

from .filters import apply_rules

SOCO_RULES = (
    dict(type='MinSide', pixels=32),
    dict(type='AspectRatio', low=1 / 3, high=3),
    dict(type='RelativeSize', low=0.3, high=0.8),
)
"""SoCo's filter, "ratio3size0308"."""

SOCO_FALLBACKS = (
    (dict(type='MinSide', pixels=32), dict(type='AspectRatio', low=1 / 3, high=3)),
    (dict(type='MinSide', pixels=32),),
)
"""What SoCo takes for images that its filter leaves nothing of, "ratio3size0308post"."""


@PROPOSALS.register_module()
class Filtered:
    """The proposals of a provider that rules keep.

    Where the rules leave nothing, the first of the ``fallbacks`` that leaves something is applied
    instead, to everything the provider gave. Where all of them leave nothing the result is empty, and
    the views take the whole image as their object, as SoCo does at load time.

    Args:
        provider: config of a provider, or one.
        rules: configs of rules, applied one after the other; SoCo's unless given.
        fallbacks: lists of rules; SoCo's unless given.
    """

    def __init__(
        self,
        provider: dict | Callable,
        rules: Sequence[dict | Callable] = SOCO_RULES,
        fallbacks: Sequence[Sequence[dict | Callable]] = SOCO_FALLBACKS,
    ) -> None:
        self.provider = _build(provider)
        self.needs_full_size = getattr(self.provider, 'needs_full_size', False)
        self.reads_pixels = getattr(self.provider, 'reads_pixels', True)
        self.choices = [[_build(rule) for rule in choice] for choice in (rules, *fallbacks)]

    def __call__(self, image: np.ndarray, image_id: str) -> Proposals:
        """What is left of the provider's proposals for an image."""
        proposals = self.provider(image, image_id)
        for rules in self.choices:
            kept = apply_rules(proposals, rules)
            if len(kept):
                break
        return kept


def _build(part: dict | Callable) -> Callable:
    return PROPOSALS.build(dict(part)) if isinstance(part, dict) else part
