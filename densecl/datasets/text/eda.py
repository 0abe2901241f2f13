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
    """Applies one of four operators to each text, drawn at random among those with a share above 0.

    Words are separated by white space. For a text of l words, a share means n = max(1, int(share * l))
    changes. Random numbers come from the sample's own generator.

    Args:
        replace: share of words that are replaced by a synonym.
        insert: share of words of which a synonym is inserted at a random place.
        swap: number of swaps of two words, as a share of the words.
        delete: probability that a word is deleted; at least one word stays.
        synonyms: a text file; each line has a word and its synonyms, separated by tabs or commas. Words that
            are not in it (stop words) have no synonym. ``replace`` and ``insert`` need it.

    Raises:
        ValueError: a share outside [0, 1], no share above 0, or synonyms are missing.
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
        """Apply one operator; a text stays unchanged if it has no word with a synonym, or only one word."""
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
    """Replace ``count`` different words, at every place, by a synonym each; marks around them stay."""
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
    """Insert a synonym of a random word at a random place, ``count`` times."""
    words = list(words)
    for _ in range(count):
        places = _with_synonyms(words, synonyms)
        if not places:
            break
        word = words[places[rng.integers(len(places))]]
        words.insert(int(rng.integers(len(words) + 1)), _draw(word, synonyms, rng))
    return words


def swap_words(words: list[str], count: int, rng: np.random.Generator) -> list[str]:
    """Swap two random words, ``count`` times."""
    words = list(words)
    for _ in range(count if len(words) > 1 else 0):
        first, second = rng.choice(len(words), 2, replace=False)
        words[first], words[second] = words[second], words[first]
    return words


def delete_words(words: list[str], probability: float, rng: np.random.Generator) -> list[str]:
    """Delete each word with this probability; if all words would go, a random one stays."""
    kept = [word for word, drawn in zip(words, rng.random(len(words)), strict=True) if drawn >= probability]
    return kept or [words[rng.integers(len(words))]]
