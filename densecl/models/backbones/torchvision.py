"""torchvision's models as backbones."""

from collections.abc import Sequence

import torchvision
from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor

from densecl.registry import MODELS


@MODELS.register_module()
class TorchvisionResNet(nn.Module):
    """The stages of a torchvision ResNet, with torchvision's (and mmdet's) parameter names.

    Args:
        arch: ``'resnet18'``, ``'resnet50'``, ``'wide_resnet50_2'``, ``'resnext50_32x4d'``, ...
        out_indices: stages to return, 0..3 for C2..C5.
        **kwargs: passed to torchvision, for example ``zero_init_residual``.
    """

    def __init__(self, arch: str = 'resnet50', out_indices: Sequence[int] = (3,), **kwargs) -> None:
        super().__init__()
        model = torchvision.models.get_model(arch, weights=None, **kwargs)
        if not isinstance(model, torchvision.models.ResNet):
            raise ValueError(f'TorchvisionResNet: {arch!r} is no ResNet; use TorchvisionFeatures')
        if not all(0 <= i < 4 for i in out_indices):
            raise ValueError(f'TorchvisionResNet: out_indices are of 0, 1, 2, 3, got {tuple(out_indices)}')
        self.out_indices = tuple(out_indices)
        for name in ('conv1', 'bn1', 'relu', 'maxpool', 'layer1', 'layer2', 'layer3', 'layer4'):
            setattr(self, name, getattr(model, name))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) -> (B, C, H / s, W / s) for each stage; the strides s are 4, 8, 16 and 32."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        levels = []
        for i in range(4):
            x = getattr(self, f'layer{i + 1}')(x)
            if i in self.out_indices:
                levels.append(x)
        return tuple(levels)


@MODELS.register_module()
class TorchvisionFeatures(nn.Module):
    """Any torchvision classification model, read at named nodes.

    Args:
        arch: name of the model, for example ``'convnext_tiny'``.
        nodes: names of the graph nodes to return, shallow to deep; see
            :func:`torchvision.models.feature_extraction.get_graph_node_names`.
        **kwargs: passed to torchvision.
    """

    def __init__(self, arch: str, nodes: Sequence[str], **kwargs) -> None:
        super().__init__()
        model = torchvision.models.get_model(arch, weights=None, **kwargs)
        self.nodes = tuple(nodes)
        self.model = create_feature_extractor(model, return_nodes=list(nodes))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) -> (B, C, H', W') for each node."""
        levels = self.model(x)
        return tuple(levels[node] for node in self.nodes)
