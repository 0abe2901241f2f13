"""A linear map behind one level of a backbone."""

import torch

from densecl.registry import MODELS

RESNET = dict(type='densecl.TorchvisionResNet', arch='resnet18', out_indices=(2, 3))


def test_the_level_alone_is_mapped():
    torch.manual_seed(0)
    backbone = MODELS.build(dict(type='densecl.LinearLevel', network=RESNET, channels=256, level=0)).eval()
    images = torch.randn(2, 3, 64, 64)
    plain = backbone.network(images)
    same = backbone(images)
    torch.testing.assert_close(list(same), list(plain))  # until something else is put in
    matrix = torch.randn(256, 256) / 16
    with torch.no_grad():
        backbone.linear.weight.copy_(matrix[..., None, None])
    mapped = backbone(images)
    torch.testing.assert_close(mapped[0], torch.einsum('dc,bchw->bdhw', matrix, plain[0]))
    assert torch.equal(mapped[1], plain[1])
