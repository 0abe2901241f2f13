"""The feature check finds good exports good and broken ones broken."""

import pytest
import torch

from densecl.transfer import check_export, export_backbone, save_export
from densecl.transfer.dialects import TARGETS


@pytest.mark.parametrize('target', TARGETS)
def test_good_exports(pretrained50, target, image, tmp_path):
    suffix = {'safetensors': '.safetensors', 'detectron2': '.pkl'}.get(target, '.pth')
    out = save_export(export_backbone(pretrained50[0], target, 'target'), tmp_path / f'a{suffix}')
    assert check_export(pretrained50[0], out, 'target', image) == 0
    assert check_export(pretrained50[0], out, 'online', image) > 0.01


def test_a_changed_file_shows(pretrained, image, tmp_path):
    export = export_backbone(pretrained[0], 'torchvision')
    export['state_dict']['layer2.0.conv1.weight'] *= 1.01
    out = save_export(export, tmp_path / 'a.pth')
    assert check_export(pretrained[0], out, 'online', image) > 1e-3


def test_without_a_config(image, pretrained, tmp_path):
    content = torch.load(pretrained[0], weights_only=True)
    out = save_export(export_backbone(content), tmp_path / 'a.pth')
    with pytest.raises(ValueError, match='carries no config'):
        check_export({'state_dict': content['state_dict']}, out, 'online', image)
