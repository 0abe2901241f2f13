"""Texts: tokenizers, files of texts, operators that change them, and the data set of text pretraining."""

from .dataset import TextDataset
from .eda import EDA
from .files import Texts, read_rows
from .tokenizer import Tokenizer, train_tokenizer

__all__ = ['EDA', 'TextDataset', 'Texts', 'Tokenizer', 'read_rows', 'train_tokenizer']
