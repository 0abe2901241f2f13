"""Text towers: (B, L) token ids -> (B, D), one vector a text."""

from .huggingface import HuggingFaceText
from .transformer import TextTransformer

__all__ = ['HuggingFaceText', 'TextTransformer']
