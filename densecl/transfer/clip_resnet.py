"""CLIP's ResNets, with the names of OpenAI and open_clip or of timm."""

from collections.abc import Callable

from torch import Tensor

from .network import Hints, Network, blocks_in, filled, timm_map
from .rename import Rules, renamed
from .timm_names import feature_names, timm_images, whole_model

_OFFICIAL: Rules = (
    (r'^(conv|bn)(\d)\.', r'stem.conv\2.\1.'),
    *((rf'^layer{i + 1}\.', f'stages.{i}.') for i in range(4)),
    (r'(?<=\d)\.(conv|bn)([13])\.', r'.conv\2_1x1.\1.'), (r'(?<=\d)\.(conv|bn)2\.', r'.conv2_kxk.\1.'),
    (r'\.downsample\.0\.', '.shortcut.conv.conv.'), (r'\.downsample\.1\.', '.shortcut.conv.bn.'),
)  # fmt: skip
# Numbers of blocks per stage -> timm's network, and the channels at the end of its stem.
_KNOWN = {
    (3, 4, 6, 3): ('resnet50_clip', 64), (3, 4, 23, 3): ('resnet101_clip', 64),
    (4, 6, 10, 6): ('resnet50x4_clip', 80), (6, 8, 18, 8): ('resnet50x16_clip', 96),
    (3, 15, 36, 10): ('resnet50x64_clip', 128),
}  # fmt: skip


def read_clip_resnet(tensors: dict[str, Tensor], hints: Hints, names: str) -> Network | None:
    """Read CLIP's ResNet (no prefix) without its attention pool; None if it is another network.

    Its stem has three convolutions. It has average pools instead of strides.

    Raises:
        ValueError: none of CLIP's ResNets has these numbers of blocks.
    """
    named = renamed(tensors, _OFFICIAL)
    stem = [named.get(f'stem.conv{i}.conv.weight') for i in (1, 2, 3)]
    if any(x is None or x.ndim != 4 for x in stem) or 'stages.0.0.conv3_1x1.conv.weight' not in named:
        return None
    width = len(stem[2])
    if [2 * len(x) for x in stem] != [width, width, 2 * width]:
        return None
    blocks = blocks_in(named, 'stages.{}.')
    if blocks not in _KNOWN:
        raise ValueError(
            f'{hints.file}: a ResNet with the stem of CLIP has {blocks} blocks, which no CLIP has; known are '
            f'{", ".join(map(str, _KNOWN))}'
        )
    model_name, usual = _KNOWN[blocks]
    backbone = dict(type='TimmBackbone', model_name=model_name)
    backbone |= {} if width == usual else dict(width_factor=width / 64)
    own = {key: x for key, x in named.items() if key.startswith(('stem.', 'stages.'))}
    title = f'ResNet-{model_name[6:].removesuffix("_clip")} of CLIP'
    original = _timm_map(tensors, backbone)
    images = timm_images(f'{model_name}.openai')
    return Network(title, backbone, feature_names(own), names, original=original, **images)


def _timm_map(tensors: dict[str, Tensor], backbone: dict) -> Callable[[Tensor], Tensor]:
    """timm's whole network, with the file read by timm's own reader of OpenAI's files."""

    def last_map(images: Tensor) -> Tensor:
        from timm.models.byobnet import checkpoint_filter_fn

        model = whole_model(backbone)
        theirs = {f'visual.{k}': x for k, x in tensors.items()} if 'conv1.weight' in tensors else tensors
        kept = {k: x for k, x in checkpoint_filter_fn(theirs, model).items() if not k.startswith('head.')}
        return timm_map(filled(model, kept, ('head.',)))(images)

    return last_map
