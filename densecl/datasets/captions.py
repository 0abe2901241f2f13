"""Chooses the captions that a sample gets, as tokens."""

import numpy as np
from torch import Tensor

from densecl.registry import TRANSFORMS


def spoken(name: str) -> str:
    """The name of a class or folder as words in a text: ``Granny-Smith`` -> granny smith."""
    return ' '.join(name.replace('-', ' ').replace('_', ' ').lower().split())


class Captions:
    """Draws captions of an image and tokenizes them.

    Args:
        tokenizer: config of the tokenizer, ``dict(type='Tokenizer', path='vocabulary.json')``; or an object
            with ``encode(list[str]) -> (T, L) int64``.
        count: T, captions per sample; drawn without repetition if the image has enough.
    """

    def __init__(self, tokenizer, count: int = 1) -> None:
        if count < 1:
            raise ValueError(f'dataset.captions: count must be 1 or more, got {count}')
        self.tokenizer = TRANSFORMS.build(tokenizer) if isinstance(tokenizer, dict) else tokenizer
        self.count = count

    def __call__(self, texts: list[str], rng: np.random.Generator, name: str) -> Tensor:
        """(L,) int64 of one caption, (T, L) of several.

        Raises:
            ValueError: the tokenizer refuses a text; the message names the image.
        """
        order = rng.permutation(len(texts))
        chosen = [texts[order[i % len(texts)]] for i in range(self.count)]
        try:
            tokens = self.tokenizer.encode(chosen)
        except ValueError as error:
            raise ValueError(f'caption of {name}: {error}') from error
        return tokens[0] if self.count == 1 else tokens
