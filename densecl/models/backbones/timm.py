"""timm's models as backbones."""

from collections.abc import Sequence

from torch import nn

from densecl.registry import MODELS


@MODELS.register_module('TimmBackbone')
def timm_backbone(model_name: str, out_indices: Sequence[int] | None = None, **kwargs) -> nn.Module:
    """A timm model that returns its feature levels, under timm's own parameter names.

    Args:
        model_name: ``'convnext_tiny'``, ``'resnet50d'``, ...
        out_indices: levels to return; all of them by default.
        **kwargs: passed to ``timm.create_model``.

    Raises:
        ImportError: timm is not installed.
    """
    try:
        import timm
    except ImportError as error:
        raise ImportError('TimmBackbone needs timm: pip install timm') from error
    return timm.create_model(
        model_name, pretrained=False, features_only=True, out_indices=out_indices, **kwargs
    )
