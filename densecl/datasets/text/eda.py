"""Easy data augmentation of texts (EDA, Wei and Zou, EMNLP 2019)."""

import os
from collections.abc import Callable, Sequence

import numpy as np

from densecl.registry import TRANSFORMS

from .files import read_rows

_MARKS = '.,;:!?"\'()[]'
Operator = Callable[[list[str], np.random.Generator], list[str]]


@TRANSFORMS.register_module()
class EDA:
    """One of four operators, drawn for each text; those with a share of 0 are left out.

    A share is of the l words of a text, and n = max(1, int(share * l)) of them change. Words are what white
    space separates. Draws come from the sample's own generator.

    Args:
        replace: share of words that a synonym replaces.
        insert: share of words of which a synonym is inserted somewhere.
        swap: share of pairs of words that change places.
        delete: probability of each word to be left out; one word at least stays.
        synonyms: a text file, a word and its synonyms a line, separated by tabs or commas; a word that is
            not in it (stop words) has none. ``replace`` and ``insert`` need it.

    Raises:
        ValueError: a share beyond [0, 1], none above 0, or synonyms are missing.
    """

    def __init__(
        self,
        replace: float = 0.1,
        insert: float = 0.1,
        swap: float = 0.1,
        delete: float = 0.1,
        synonyms: str | os.PathLike | None = None,
    ) -> None:
        shares = dict(replace=replace, insert=insert, swap=swap, delete=delete)
        for name, share in shares.items():
            if not 0 <= share <= 1:
                raise ValueError(f'EDA: {name} must be between 0 and 1, got {share}')
        if (replace or insert) and synonyms is None:
            raise ValueError('EDA: replace and insert need synonyms, a file; give it or set both to 0')
        self.shares = {name: share for name, share in shares.items() if share}
        if not self.shares:
            raise ValueError('EDA: one of replace, insert, swap and delete must be above 0')
        self.synonyms = {} if synonyms is None else read_synonyms(synonyms)

    def __call__(self, text: str, rng: np.random.Generator) -> str:
        """The text as one operator leaves it; as it is where it has no word with a synonym, or one word."""
        words = text.split()
        name = list(self.shares)[rng.integers(len(self.shares))]
        share = self.shares[name]
        if name == 'delete':
            return ' '.join(delete_words(words, share, rng))
        count = max(1, int(share * len(words)))
        if name == 'swap':
            return ' '.join(swap_words(words, count, rng))
        change = replace_words if name == 'replace' else insert_words
        return ' '.join(change(words, count, self.synonyms, rng))


def read_synonyms(path: str | os.PathLike) -> dict[str, list[str]]:
    """Word, in small letters -> its synonyms.

    Raises:
        ValueError: a line has no synonym; file and line are named.
    """
    found: dict[str, list[str]] = {}
    for number, (line,) in read_rows(path, lines=True):
        word, *others = (part.strip() for part in line.replace(',', '\t').split('\t'))
        others = [other for other in others if other]
        if not word or not others:
            raise ValueError(f'{path}, line {number}: expected a word and its synonyms, got {line[:40]!r}')
        found.setdefault(word.lower(), []).extend(others)
    return found


def _core(word: str) -> str:
    """A word without the marks around it."""
    return word.strip(_MARKS)


def _with_synonyms(words: Sequence[str], synonyms: dict) -> list[int]:
    return [place for place, word in enumerate(words) if _core(word).lower() in synonyms]


def _draw(word: str, synonyms: dict, rng: np.random.Generator) -> str:
    known = synonyms[_core(word).lower()]
    return known[rng.integers(len(known))]


def replace_words(words: list[str], count: int, synonyms: dict, rng: np.random.Generator) -> list[str]:
    """``count`` different words, wherever they stand, give way to a synonym each; marks around them stay."""
    words = list(words)
    places = _with_synonyms(words, synonyms)
    different = sorted({_core(words[place]).lower() for place in places})
    chosen = {word: _draw(word, synonyms, rng) for word in rng.permutation(different)[:count].tolist()}
    for place in places:
        core = _core(words[place])
        if core.lower() in chosen:
            words[place] = words[place].replace(core, chosen[core.lower()])
    return words


def insert_words(words: list[str], count: int, synonyms: dict, rng: np.random.Generator) -> list[str]:
    """``count`` times a synonym of a random word, at a random place."""
    words = list(words)
    for _ in range(count):
        places = _with_synonyms(words, synonyms)
        if not places:
            break
        word = words[places[rng.integers(len(places))]]
        words.insert(int(rng.integers(len(words) + 1)), _draw(word, synonyms, rng))
    return words


def swap_words(words: list[str], count: int, rng: np.random.Generator) -> list[str]:
    """``count`` times two random words change places."""
    words = list(words)
    for _ in range(count if len(words) > 1 else 0):
        first, second = rng.choice(len(words), 2, replace=False)
        words[first], words[second] = words[second], words[first]
    return words


def delete_words(words: list[str], probability: float, rng: np.random.Generator) -> list[str]:
    """Each word is left out with this probability; if all would be, a random one stays."""
    kept = [word for word, drawn in zip(words, rng.random(len(words)), strict=True) if drawn >= probability]
    return kept or [words[rng.integers(len(words))]]
