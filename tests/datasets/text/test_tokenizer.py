"""Tokenizers: of a file, of CLIP's files, and trained here."""

import gzip
import json
import pickle
import re
import subprocess
import sys

import pytest
import torch

from densecl.datasets import Tokenizer
from densecl.datasets.text import train_tokenizer

tokenizers = pytest.importorskip('tokenizers')
TEXTS = ['A dog runs on the grass.', 'Two dogs run.', "The dog's ball is on the grass"] * 3
LETTERS = [*range(33, 127), *range(161, 173), *range(174, 256)]


def letter(byte: int) -> str:
    """The letter of a byte in GPT-2's table."""
    if byte in LETTERS:
        return chr(byte)
    return chr(256 + sorted(set(range(256)) - set(LETTERS)).index(byte))


@pytest.fixture
def trained(tmp_path):
    train_tokenizer(TEXTS, 280, tmp_path / 'tokenizer.json')
    return tmp_path / 'tokenizer.json'


MERGES = [('d', 'o'), ('g', 's</w>'), ('do', 'gs</w>'), ('do', 'g</w>'), ('r', 'u'), ('ru', 'n</w>')]


@pytest.fixture
def clip(tmp_path):
    """CLIP's vocabulary with six merges, as a folder."""
    order = [letter(b) for b in LETTERS] + [letter(b) for b in range(256) if b not in LETTERS]
    names = [
        *order,
        *(f'{x}</w>' for x in order),
        *(a + b for a, b in MERGES),
        '<|startoftext|>',
        '<|endoftext|>',
    ]
    (tmp_path / 'clip').mkdir()
    (tmp_path / 'clip/vocab.json').write_text(json.dumps({name: i for i, name in enumerate(names)}))
    lines = ['#version: 0.2', *(f'{a} {b}' for a, b in MERGES), '']
    (tmp_path / 'clip/merges.txt').write_text('\n'.join(lines))
    return tmp_path / 'clip'


def byte_pairs(text: str, vocab: dict[str, int]) -> list[int]:
    """CLIP's tokenizer, naively: words, bytes, then the pair of least rank again and again."""
    ids = []
    pattern = r"'s|'t|'re|'ve|'m|'ll|'d|[^\W\d_]+|\d|(?:[^\s\w]|_)+"
    for word in re.findall(pattern, re.sub(r'\s+', ' ', text).strip().lower()):
        parts = [letter(b) for b in word.encode()]
        parts[-1] += '</w>'
        while len(parts) > 1:
            pairs = list(zip(parts, parts[1:], strict=False))
            best = min(pairs, key=lambda p: MERGES.index(p) if p in MERGES else 10**6)
            if best not in MERGES:
                break
            at = pairs.index(best)
            parts[at : at + 2] = [''.join(best)]
        ids += [vocab[part] for part in parts]
    return ids


@pytest.mark.parametrize('text', ["The Dogs'll  run, 23 dogs!", 'é_dog-run 你好', 'dog'])
def test_clips_files_are_read_as_clip_reads_them(clip, tmp_path, text):
    vocab = json.loads((clip / 'vocab.json').read_text())
    tokenizer = Tokenizer(clip, context_length=77)
    expected = [520 - 2, *byte_pairs(text, vocab), 520 - 1]
    (tokens,) = tokenizer.encode([text])
    assert tokens.dtype == torch.int64 and tokens.shape == (77,)
    assert tokens[: len(expected)].tolist() == expected and not tokens[len(expected) :].any()
    packed = tmp_path / 'bpe_simple_vocab_16e6.txt.gz'
    packed.write_bytes(gzip.compress((clip / 'merges.txt').read_bytes()))
    assert torch.equal(Tokenizer(packed).encode([text])[0], tokens)


def test_trained_tokenizer_gives_back_every_text(trained):
    tokenizer = Tokenizer(trained, context_length=40)
    assert tokenizer.vocab_size == 280 and (tokenizer.start_id, tokenizer.end_id) == (278, 279)
    theirs = tokenizers.Tokenizer.from_file(str(trained))
    for text in (TEXTS[0], 'zebra \U0001f600 \x01', 'éß 你好'):  # of letters that it never saw, too
        (tokens,) = tokenizer.encode([text])
        assert tokens.max() == tokens[(tokens == 279).int().argmax()] == 279
        assert theirs.decode(tokens[1 : tokens.argmax()].tolist()).strip() == text.lower()


def test_merges_are_learned(trained):
    (tokens,) = Tokenizer(trained).encode(['the dog'])
    assert int((tokens > 0).sum()) < 2 + len('the dog')


def test_case_may_be_kept(tmp_path):
    train_tokenizer(TEXTS, 280, tmp_path / 'a.json', keep_case=True)
    small, large = Tokenizer(tmp_path / 'a.json').encode(['dog', 'DOG'])
    assert not torch.equal(small, large)


def test_long_text_is_cut_and_keeps_its_end(trained):
    whole, cut = Tokenizer(trained, 60).encode([TEXTS[0]])[0], Tokenizer(trained, 6).encode([TEXTS[0]])[0]
    assert cut.tolist() == [*whole[:5].tolist(), 279]


def test_what_a_process_is_sent_encodes_alike(trained):
    tokenizer = Tokenizer(trained)
    assert torch.equal(pickle.loads(pickle.dumps(tokenizer)).encode(TEXTS), tokenizer.encode(TEXTS))


def word_pieces(path, unknown: str | None):
    vocab = {
        '[PAD]': 0,
        '[CLS]': 1,
        '[SEP]': 2,
        'a': 3,
        'dog': 4,
        '##s': 5,
        **({unknown: 6} if unknown else {}),
    }
    model = tokenizers.models.WordPiece(vocab, unk_token='[UNK]')
    if unknown is None:
        model = tokenizers.models.BPE({k: v for k, v in vocab.items() if k != '##s'}, [])
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(path))
    return path


def test_unknown_words_have_a_token_where_there_is_one(tmp_path):
    tokenizer = Tokenizer(word_pieces(tmp_path / 'tokenizer.json', '[UNK]'), 6)
    assert tokenizer.encode(['a dogs', 'a cat']).tolist() == [[1, 3, 4, 5, 2, 0], [1, 3, 6, 2, 0, 0]]
    assert torch.equal(Tokenizer(tmp_path, 6).encode(['a']), tokenizer.encode(['a']))  # of the folder


def test_unknown_characters_are_refused_where_there_is_none(tmp_path):
    tokenizer = Tokenizer(word_pieces(tmp_path / 'tokenizer.json', None), 6)
    assert tokenizer.encode(['a a']).tolist() == [[1, 3, 3, 2, 0, 0]]
    with pytest.raises(ValueError, match="tokenizer.json does not know a character of 'a cat', and has no"):
        tokenizer.encode(['a cat'])


def test_refuses_in_one_line(trained, tmp_path, monkeypatch):
    tokenizer = Tokenizer(trained)
    broken = tmp_path / 'broken.json'
    broken.write_text('{')
    for error, said, call in (
        (ValueError, "text 1 of 2 is empty: ' '", lambda: tokenizer.encode(['a', ' '])),
        (TypeError, "got the text 'a dog'", lambda: tokenizer.encode('a dog')),
        (ValueError, "end='</end>' is no token of", lambda: Tokenizer(trained, end='</end>')),
        (ValueError, 'context_length must be 3 or more, got 2', lambda: Tokenizer(trained, 2)),
        (FileNotFoundError, 'there is no file .*nowhere.json', lambda: Tokenizer(tmp_path / 'nowhere.json')),
        (ValueError, 'broken.json cannot be read', lambda: Tokenizer(broken)),
        (ValueError, 'size must be 258 or more', lambda: train_tokenizer(TEXTS, 200, tmp_path / 'b.json')),
    ):
        with pytest.raises(error, match=said) as raised:
            call()
        assert '\n' not in str(raised.value)
    monkeypatch.setitem(sys.modules, 'tokenizers', None)
    with pytest.raises(ImportError, match=r"pip install 'densecl\[text\]'"):
        Tokenizer(trained)


def test_tool(tmp_path):
    (tmp_path / 'texts.csv').write_text('id,caption\n1,A dog runs\n2,"Two dogs, running"\n')
    command = [
        sys.executable,
        'tools/train_tokenizer.py',
        'texts.csv',
        '--columns',
        'caption',
        '--size',
        '270',
    ]
    command[1] = str(__import__('pathlib').Path(__file__).parents[3] / command[1])
    done = subprocess.run([*command, '--out', 'out.json'], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.match(r'out.json: \d+ ids, \d+\.\d tokens a text \(2 texts\)', done.stdout)
    assert Tokenizer(tmp_path / 'out.json').encode(['a dog']).shape == (1, 77)
