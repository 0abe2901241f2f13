"""Heads of the ImageNet configs: layers and shapes as in the official state dicts."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from densecl.registry import MODELS
from densecl.structures import Comparison

CONFIGS = Path(__file__).parents[2] / 'configs'
RELU = 'ReLU'


def layers(module: nn.Module) -> list:
    """What a perceptron consists of: (inputs, outputs, bias) of Linear, (width, affine) of BN."""
    found = []
    for layer in module:
        if isinstance(layer, nn.Linear):
            found.append((layer.in_features, layer.out_features, layer.bias is not None))
        elif isinstance(layer, nn.BatchNorm1d):
            found.append((layer.num_features, layer.affine))
        else:
            found.append(type(layer).__name__)
    return found


def head_of(config: str) -> nn.Module:
    cfg = Config.fromfile(CONFIGS / config)
    init_default_scope(cfg.default_scope)
    objective = cfg.model.heads.image.objective
    banked = objective != 'Cosine' and objective.type == 'NCE'  # the older methods: neither of both
    assert cfg.model.backbone.zero_init_residual == ('sync_bn' in cfg) == (not banked)
    return MODELS.build(dict(cfg.model.heads.image, type='Head'))


BYOL_TAIL = [(4096, True), RELU, (4096, 256, False)]
WIDE = [(8192, True), RELU]
OFFICIAL = {
    'byol/byol_resnet50_8xb512-coslr-100e_in1k.py': dict(
        projector=[(2048, 4096, True), *BYOL_TAIL], predictor=[(256, 4096, True), *BYOL_TAIL]
    ),
    'simsiam/simsiam_resnet50_8xb64-coslr-100e_in1k.py': dict(
        projector=[(2048, 2048, False), (2048, True), RELU] * 2 + [(2048, 2048, True), (2048, False)],
        predictor=[(2048, 512, False), (512, True), RELU, (512, 2048, True)],
    ),
    'barlow_twins/barlow_twins_resnet50_8xb256-coslr-1000e_in1k.py': dict(
        projector=[(2048, 8192, False), *WIDE, (8192, 8192, False), *WIDE, (8192, 8192, False)]
    ),
    'vicreg/vicreg_resnet50_8xb256-coslr-1000e_in1k.py': dict(
        projector=[(2048, 8192, True), *WIDE, (8192, 8192, True), *WIDE, (8192, 8192, False)]
    ),
    'npid/npid_resnet50_8xb32-steplr-200e_in1k.py': dict(projector=[(2048, 128, True)]),
    'pirl/pirl_resnet50_32xb32-coslr-800e_in1k.py': dict(projector=[(2048, 128, True)]),  # of images
}


@pytest.mark.parametrize('config', OFFICIAL)
def test_layers(config):
    with torch.device('meta'):
        head = head_of(config)
    expected = OFFICIAL[config]
    projector = head.projector['global'] if head.units.kinds else head.projector
    assert layers(projector) == expected['projector']
    if 'predictor' in expected:
        assert layers(head.predictor) == expected['predictor']
    else:
        assert head.predictor is None


def test_byol_sums_both_directions():
    """Official value: per sample |q1 - z2|^2 + |q2 - z1|^2, mean over the batch."""
    cfg = Config.fromfile(CONFIGS / 'byol/byol_resnet18_1xb64-coslr-6e_photos.py')
    init_default_scope(cfg.default_scope)
    head = MODELS.build(dict(cfg.model.heads.image, type='Head'))
    q, z = torch.randn(2, 2, 5, 128, dtype=torch.float64).unbind()
    terms = [
        pair.weight * head.objective.score(Comparison.of_rows(q[pair.query], z[pair.key]))[0]
        for pair in head.pairs
    ]
    got = head.weight(0) * sum(terms)
    q, z = F.normalize(q, dim=-1), F.normalize(z, dim=-1)
    want = ((q[0] - z[1]).square().sum(1) + (q[1] - z[0]).square().sum(1)).mean()
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)


def test_simsiam_averages_both_directions():
    cfg = Config.fromfile(CONFIGS / 'simsiam/simsiam_resnet50_8xb64-coslr-100e_in1k.py').model.heads.image
    assert cfg.pairs == ((0, 1), (1, 0)) and cfg.stop_gradient and 'loss_weight' not in cfg
