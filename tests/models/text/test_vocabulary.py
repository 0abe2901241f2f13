"""A tower and a tokenizer that do not fit are refused; what would be set is said."""

import pytest

from densecl.datasets.text import Tokenizer, train_tokenizer
from densecl.models.text import TextTransformer, check_tokenizer

SMALL = dict(width=8, depth=1, heads=2)


@pytest.fixture(scope='module')
def tokenizer(tmp_path_factory):
    """Of 260 ids or more; the end token has the last."""
    file = tmp_path_factory.mktemp('tokens') / 'tokenizer.json'
    train_tokenizer(['a red car', 'a blue car'], 264, file)
    return Tokenizer(file, context_length=8)


def test_what_fits_is_taken(tokenizer):
    size = tokenizer.vocab_size
    for options in (dict(), dict(end_token=size - 1), dict(causal=False, feature='first')):
        check_tokenizer(TextTransformer(vocab_size=size, context_length=8, **SMALL, **options), tokenizer)


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        (dict(vocab_size=200), 'has 264 ids, the tower has vectors for 200; set vocab_size=264'),
        (
            dict(context_length=7),
            'context_length is 7, but the tokenizer makes texts of 8 tokens; give both one',
        ),
        (dict(end_token=3), 'end_token is 3, but in .*tokenizer.json it is 263; set end_token=263'),
    ],
)
def test_refuses_in_one_line(tokenizer, options, said):
    assert tokenizer.vocab_size == 264
    tower = TextTransformer(**{**SMALL, 'vocab_size': 264, 'context_length': 8, **options})
    with pytest.raises(ValueError, match=f'TextTransformer: .*{said}') as error:
        check_tokenizer(tower, tokenizer)
    assert '\n' not in str(error.value)


def test_an_end_token_that_is_not_the_largest_id_has_to_be_named(tokenizer):
    """Otherwise another token would be the text's vector, and nobody would notice."""
    other = Tokenizer(tokenizer.path, context_length=8, end='<|startoftext|>')
    tower = TextTransformer(vocab_size=264, context_length=8, **SMALL)
    with pytest.raises(ValueError, match='has the id 262, which is not the largest; set end_token=262'):
        check_tokenizer(tower, other)
    check_tokenizer(TextTransformer(vocab_size=264, context_length=8, end_token=262, **SMALL), other)
