"""Texts: tokenizers, files of texts, operators that change them, and the data set of text pretraining."""

from .files import Texts, read_rows
from .tokenizer import Tokenizer, train_tokenizer

__all__ = ['Texts', 'Tokenizer', 'read_rows', 'train_tokenizer']
