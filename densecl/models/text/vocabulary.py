"""Whether a tokenizer fits a text tower."""

from typing import TYPE_CHECKING

from torch import nn

from .huggingface import HuggingFaceText
from .transformer import TextTransformer

if TYPE_CHECKING:
    from densecl.datasets.text import Tokenizer


def check_tokenizer(tower: nn.Module, tokenizer: 'Tokenizer') -> None:
    """Check that a tokenizer's ids, length, end token and padding are those that a tower expects.

    Without this check, an id without a vector ends a run at the first text that has it (on CUDA with no clear
    reason), and a wrong end token goes unnoticed: another token becomes the text's vector. Other classes of
    towers, and tokenizers without ``vocab_size``, are not checked.

    Raises:
        ValueError: something differs; the error names the setting.
    """
    if not isinstance(tower, TextTransformer | HuggingFaceText) or not hasattr(tokenizer, 'vocab_size'):
        return
    name, file, size = type(tower).__name__, tokenizer.path, tokenizer.vocab_size
    ours = isinstance(tower, TextTransformer)
    if size > tower.vocab_size:
        how = f'set vocab_size={size}' if ours else 'take the tokenizer of the model'
        raise ValueError(
            f'{name}: {file} has {size} ids, the tower has vectors for {tower.vocab_size}; {how}'
        )
    if tokenizer.context_length > tower.context_length:
        raise ValueError(
            f'{name}: context_length is {tower.context_length}, but the tokenizer makes texts of '
            f'{tokenizer.context_length} tokens; give both one context_length'
        )
    if ours and tower.end_token is None and tokenizer.end_id != size - 1:
        raise ValueError(
            f'{name}: the end token of {file} has the id {tokenizer.end_id}, which is not the largest; set '
            f'end_token={tokenizer.end_id}'
        )
    for what, expected, found in (
        ('end_token', tower.end_token, tokenizer.end_id),
        ('pad_token', getattr(tower, 'pad_token', None), tokenizer.pad_id),
    ):
        if expected not in (None, found):
            raise ValueError(f'{name}: {what} is {expected}, but in {file} it is {found}; set {what}={found}')
