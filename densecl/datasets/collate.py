"""Collates samples into the batch that the data preprocessor takes."""

from mmengine.registry import FUNCTIONS as ROOT_FUNCTIONS

from densecl.registry import FUNCTIONS
from densecl.structures import PretrainDataSample, Views


# Also in the root registry, as mmengine's loader looks there, without a scope.
@ROOT_FUNCTIONS.register_module()
@FUNCTIONS.register_module()
def collate_views(samples: list[PretrainDataSample]) -> dict:
    """Collate B samples.

    Returns:
        ``dict(inputs=Views, data_samples=None)``, images uint8 (B, Hv, Wv, 3).
    """
    return {'inputs': Views.collate(samples), 'data_samples': None}
