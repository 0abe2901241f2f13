"""Projectors and predictors."""

from .mlp import MLP, ConvMLP

__all__ = ['MLP', 'ConvMLP']
