"""Turns texts into token ids."""

import gzip
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from densecl.files import atomic_write
from densecl.registry import TRANSFORMS

if TYPE_CHECKING:
    import tokenizers

START, END = '<|startoftext|>', '<|endoftext|>'
#: Names that known vocabularies give their special tokens.
_NAMES = {
    'start': (START, '[CLS]', '<s>'),
    'end': (END, '[SEP]', '</s>'),
    'pad': ('[PAD]', '<pad>'),
}
#: How CLIP cuts a text into words (its ``simple_tokenizer.py``). Each word is then split into byte pairs.
_CLIP_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
#: Number of merges of ``bpe_simple_vocab_16e6.txt.gz`` that CLIP uses: 49,152 ids minus 256 bytes,
#: 256 bytes that end words, and 2 special tokens.
_CLIP_MERGES = 49152 - 256 - 2


@TRANSFORMS.register_module()
class Tokenizer:
    """Turns texts into ids of one length: start token, text, end token, padding.

    A text that is too long is cut; the end token stays. Unknown characters become the vocabulary's unknown
    token (BERT's ``[UNK]``), if it has one. Byte-pair vocabularies on bytes (CLIP's, RoBERTa's, those of
    ``tools/train_tokenizer.py``) know every character. With any other vocabulary, an unknown character is an
    error.

    Args:
        path: the vocabulary. ``tokenizer.json`` of Hugging Face; CLIP's ``bpe_simple_vocab_16e6.txt.gz``; or
            a folder with ``tokenizer.json``, or with CLIP's ``vocab.json`` and ``merges.txt``.
        context_length: L, start and end token included.
        start, end: start and end token; None: the usual names (``<|startoftext|>``, ``[CLS]``, ``<s>``;
            ``<|endoftext|>``, ``[SEP]``, ``</s>``). A vocabulary may have no start token.
        pad: the token behind the end; None: ``[PAD]`` or ``<pad>``, else the id 0, as in CLIP.

    Attributes:
        vocab_size: number of ids.
        start_id, end_id, pad_id: ids of these tokens; ``start_id`` may be None.

    Raises:
        ImportError: ``tokenizers`` is not installed.
        FileNotFoundError: there is no such file.
        ValueError: the file is no vocabulary, or has no such token.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        context_length: int = 77,
        start: str | None = None,
        end: str | None = None,
        pad: str | None = None,
    ) -> None:
        os.environ.setdefault('TOKENIZERS_PARALLELISM', 'false')  # the library's threads break in a fork
        self.path = Path(os.path.expanduser(path))
        self._tokenizer = _load(self.path)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        if context_length < 3:
            raise ValueError(f'Tokenizer: context_length must be 3 or more, got {context_length}')
        self.context_length = context_length
        self.vocab_size = self._tokenizer.get_vocab_size()
        self.start_id, self.end_id = self._id('start', start), self._id('end', end)
        if self.end_id is None:
            raise ValueError(
                f'Tokenizer: {self.path} has none of the tokens {", ".join(_NAMES["end"])}; name end'
            )
        self.pad_id = self._id('pad', pad) or 0
        self._knows_all = _knows_all(self._tokenizer)

    def _id(self, which: str, token: str | None) -> int | None:
        ids = [self._tokenizer.token_to_id(name) for name in ((token,) if token else _NAMES[which])]
        if token and ids == [None]:
            raise ValueError(f'Tokenizer: {which}={token!r} is no token of {self.path}')
        return next((i for i in ids if i is not None), None)

    def encode(self, texts: Sequence[str]) -> Tensor:
        """B texts -> (B, L) int64.

        Raises:
            TypeError: a single text instead of a list of texts.
            ValueError: a text is empty, or has a character that the vocabulary does not know.
        """
        if isinstance(texts, str):
            raise TypeError(
                f'Tokenizer.encode takes a list of texts, got the text {texts[:40]!r}; put it in [ ]'
            )
        first = [] if self.start_id is None else [self.start_id]
        room = self.context_length - len(first) - 1
        tokens = torch.full((len(texts), self.context_length), self.pad_id)
        encoded = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        for row, (text, found) in enumerate(zip(texts, encoded, strict=True)):
            if not self._knows_all:
                self._check(text, found.offsets)
            if not found.ids:
                raise ValueError(f'Tokenizer: text {row} of {len(texts)} is empty: {text[:40]!r}')
            ids = [*first, *found.ids[:room], self.end_id]
            tokens[row, : len(ids)] = torch.tensor(ids)
        return tokens

    def _check(self, text: str, offsets: list[tuple[int, int]]) -> None:
        covered = {place for start, stop in offsets for place in range(start, stop)}
        if not all(place in covered or character.isspace() for place, character in enumerate(text)):
            raise ValueError(
                f'Tokenizer: {self.path} does not know a character of {text[:40]!r}, and has no unknown '
                'token; train one on bytes with tools/train_tokenizer.py'
            )


def train_tokenizer(
    texts: Iterable[str], size: int, out: str | os.PathLike, keep_case: bool = False
) -> 'tokenizers.Tokenizer':
    """Learn byte pairs from texts (Sennrich et al., 2016), on bytes and within words, as GPT-2 does.

    The start token ``<|startoftext|>`` and the end token ``<|endoftext|>`` have the last two ids, so the end
    token has the largest id in every text. Any white space counts as one space. Capitals become small
    letters.

    Args:
        texts: the texts to learn from, any number.
        size: number of ids, 258 or more. The vocabulary is smaller if the texts have fewer pairs.
        out: json file that is written.
        keep_case: do not change capitals.

    Raises:
        ImportError: ``tokenizers`` is not installed.
        ValueError: ``size`` is too small.
    """
    library = _library()
    cut = library.pre_tokenizers
    if size < 258:
        raise ValueError(f'train_tokenizer: size must be 258 or more (256 bytes and 2 tokens), got {size}')
    tokenizer = library.Tokenizer(library.models.BPE())
    tokenizer.normalizer = _cleaning(library, keep_case)
    tokenizer.pre_tokenizer = cut.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = library.decoders.ByteLevel()
    trainer = library.trainers.BpeTrainer(
        vocab_size=size - 2, initial_alphabet=sorted(cut.ByteLevel.alphabet()), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([START, END])
    with atomic_write(out) as temporary:
        tokenizer.save(temporary)
    return tokenizer


def _library():
    try:
        import tokenizers
        from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "tokenizers are read by the package tokenizers: pip install 'densecl[text]'"
        ) from error
    return tokenizers


def _load(path: Path) -> 'tokenizers.Tokenizer':
    library = _library()
    if path.is_dir():
        whole, parts = path / 'tokenizer.json', (path / 'vocab.json', path / 'merges.txt')
        if not whole.is_file() and all(part.is_file() for part in parts):
            return _read(path, lambda: _clip(library, *parts))
        path = whole
    if not path.is_file():
        raise FileNotFoundError(
            f'Tokenizer: there is no file {path}; path is a tokenizer.json, the bpe_simple_vocab_16e6.txt.gz '
            'of CLIP, or a folder with tokenizer.json, or with vocab.json and merges.txt'
        )
    if path.name.endswith('.txt.gz'):
        return _read(path, lambda: _clip_of_merges(library, path))
    return _read(path, lambda: library.Tokenizer.from_file(str(path)))


def _read(path: Path, load):
    try:
        return load()
    except Exception as error:  # the library raises nothing narrower
        raise ValueError(f'Tokenizer: {path} cannot be read: {error}') from error


def _clip(library, vocab: Path, merges: Path) -> 'tokenizers.Tokenizer':
    model = library.models.BPE.from_file(str(vocab), str(merges), end_of_word_suffix='</w>')
    return _clip_like(library, model)


def _clip_of_merges(library, path: Path) -> 'tokenizers.Tokenizer':
    """CLIP's vocabulary from its merges: bytes, bytes that end words, merged pairs, 2 special tokens."""
    lines = gzip.decompress(path.read_bytes()).decode('utf-8').split('\n')
    merges = [tuple(line.split()) for line in lines[1 : _CLIP_MERGES + 1] if line.strip()]
    letters = _byte_letters()
    names = [*letters, *(f'{letter}</w>' for letter in letters), *(a + b for a, b in merges)]
    vocab = {name: number for number, name in enumerate([*names, START, END])}
    return _clip_like(library, library.models.BPE(vocab, merges, end_of_word_suffix='</w>'))


def _byte_letters() -> list[str]:
    """The letter that stands for each byte in GPT-2's and CLIP's vocabularies, in the order of the ids."""
    printed = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printed]
    return [chr(byte) for byte in printed] + [chr(256 + number) for number in range(len(others))]


def _clip_like(library, model) -> 'tokenizers.Tokenizer':
    """A tokenizer that cleans and cuts texts as CLIP does (without its repair of broken encodings)."""
    tokenizer, cut = library.Tokenizer(model), library.pre_tokenizers
    tokenizer.normalizer = _cleaning(library)
    words = cut.Split(library.Regex(_CLIP_WORDS), behavior='removed', invert=True)
    tokenizer.pre_tokenizer = cut.Sequence([words, cut.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.add_special_tokens([START, END])  # they keep the ids that the vocabulary gives them
    return tokenizer


def _cleaning(library, keep_case: bool = False):
    clean = library.normalizers
    steps = [
        clean.NFC(),
        clean.Replace(library.Regex(r'\s+'), ' '),
        *([] if keep_case else [clean.Lowercase()]),
    ]
    return clean.Sequence([*steps, clean.Strip()])


def _knows_all(tokenizer: 'tokenizers.Tokenizer') -> bool:
    """Whether no character is lost: there is an unknown token, or every byte is a token."""
    if getattr(tokenizer.model, 'unk_token', None) is not None:
        return True
    letters = [tokenizer.token_to_id(letter) for letter in _byte_letters()]
    return 'ByteLevel' in tokenizer.to_str() and None not in letters
