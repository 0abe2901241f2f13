"""Text towers: (B, L) token ids -> (B, D), one vector a text."""

from .huggingface import HuggingFaceText
from .transformer import TextTransformer
from .vocabulary import check_tokenizer

__all__ = ['HuggingFaceText', 'TextTransformer', 'check_tokenizer']
