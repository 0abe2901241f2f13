"""Text towers: token ids (B, L) -> (B, D), one vector for each text."""

from .huggingface import HuggingFaceText
from .transformer import TextTransformer
from .vocabulary import check_tokenizer

__all__ = ['HuggingFaceText', 'TextTransformer', 'check_tokenizer']
