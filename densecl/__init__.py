"""densecl: contrastive pretraining of backbones for dense prediction.

Importing the package is light; the heavy parts load when a registry is asked for them.
"""

__version__ = '0.1.0'
