"""Names of earlier versions say what to write now."""

import pytest

from densecl.models.renamed import RENAMED
from densecl.registry import MODELS


@pytest.mark.parametrize('name', RENAMED)
def test_building_an_old_name_raises_one_sentence(name):
    with pytest.raises(ValueError, match=f'^{name} is gone, write ') as caught:
        MODELS.build(dict(type=f'densecl.{name}', projector=None, objective='Cosine'))
    text = str(caught.value)
    assert RENAMED[name] in text and text.endswith('docs/methods.md shows every method') and '\n' not in text


def test_a_pretrainer_names_the_head():
    config = dict(
        type='densecl.SharedPretrainer',
        backbone=dict(type='TorchvisionResNet', arch='resnet18'),
        heads=dict(dense=dict(type='DenseHead', objective='Cosine')),
    )
    with pytest.raises(ValueError, match="model.heads.dense: DenseHead is gone, write units='Cells'"):
        MODELS.build(config)
