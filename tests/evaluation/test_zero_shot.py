"""Zero-shot classes of images, boxes and pixels, against what the vectors were made to say."""

import argparse
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from densecl.evaluation.features import FrozenEncoder
from densecl.evaluation.labelled import LabelledPart
from densecl.evaluation.zero_shot import ImageText, classifier, classify, open_image_text, segment
from densecl.numerics import unit
from densecl.registry import MODELS

NAMES = ('red', 'green', 'blue')
SIDE, STRIDE = 32, 4


class Colours(nn.Module):
    """A backbone whose level is the mean colour of each 4 x 4 px."""

    def forward(self, x):
        return (F.avg_pool2d(x, STRIDE),)


class Names:
    """Texts -> the number of the colour that they name; ``dark`` adds 3."""

    def encode(self, texts):
        return torch.tensor([[NAMES.index(t.split()[-1]) + 3 * ('dark' in t)] for t in texts])


class Axes(nn.Module):
    """The axis of the colour; of a dark one twice as long, and turned to the next axis."""

    def forward(self, tokens):
        axes = torch.eye(3)
        return torch.cat([axes, 2 * axes + axes.roll(-1, 0)])[tokens[:, 0]]


def towers(level=-1):
    record = dict(mean=[0.0] * 3, std=[255.0] * 3)
    return ImageText(FrozenEncoder(Colours(), record), nn.Linear(3, 3), Axes(), Names(), level)


@pytest.fixture
def model():
    made = towers()
    with torch.no_grad():
        made.projector.weight.copy_(torch.eye(3))
        made.projector.bias.zero_()
    return made


def painted(*colours):
    images = torch.zeros(len(colours), SIDE, SIDE, 3, dtype=torch.uint8)
    for image, colour in zip(images, colours, strict=True):
        image[..., colour] = 200
    return images


def test_an_ensemble_is_normalised_averaged_and_normalised_again(model):
    weights = classifier(model.texts, NAMES, ('{}', 'dark {}'))
    axes = torch.eye(3)
    dark = F.normalize(2 * axes + axes.roll(-1, 0), dim=1)
    torch.testing.assert_close(weights, F.normalize((axes + dark) / 2, dim=1))
    # a longer vector of one template would weigh more, were it not normalised before
    assert not torch.allclose(weights, unit(axes + 2 * axes + axes.roll(-1, 0)))


@pytest.mark.parametrize('templates', [(), ('a photo',), ('{}', 'no place')])
def test_templates_need_a_place_for_the_name(model, templates):
    with pytest.raises(ValueError, match=r'templates need \{\}'):
        classifier(model.texts, NAMES, templates)


def test_a_template_may_have_the_name_twice_and_other_brackets():
    seen = []
    classifier(lambda texts: seen.extend(texts) or torch.eye(2), ('red', 'blue'), ('{} or {x} {}',))
    assert seen == ['red or {x} red', 'blue or {x} blue']


ZERO_SHOT = Path(__file__).parents[2] / 'tools' / 'zero_shot.py'


def test_the_command_wants_a_name_for_each_class(model, tmp_path):
    import cv2

    tool = runpy.run_path(str(ZERO_SHOT))
    for name in ('Red', 'Light-Blue'):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / '1.png'), np.zeros((4, 4, 3), np.uint8))
    args = argparse.Namespace(folder=str(tmp_path), size=None, classes=['red'])
    with pytest.raises(SystemExit, match=r'--classes has 1 names, but .* has 2 classes'):
        tool['classes_of_images'](model, args)
    assert tool['named'](None, ['a', 'b'], '') == ['a', 'b']
    assert tool['named'](['c', 'd'], ['a', 'b'], '') == ['c', 'd']


def test_images_are_called_by_the_nearest_text(model):
    weights = classifier(model.texts, NAMES)
    predicted = classify(model, [painted(0, 2), painted(1)], weights)
    assert predicted.tolist() == [0, 2, 1]


def halves():
    """Two images, the left half red and the right half green or blue, and their labels with background."""
    images, labels = painted(0, 0).numpy(), np.zeros((2, SIDE, SIDE), np.uint8)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        image[:, SIDE // 2 :] = 0
        image[:, SIDE // 2 :, 1 + number] = 200
        label[:, : SIDE // 2], label[4:, SIDE // 2 :] = 1, 2 + number
    boxes = lambda i: (np.array([[0, 0, 0.5, 1], [0.5, 0, 1, 1]]), np.array([1, 2 + i]))  # noqa: E731
    paths = (Path('0'), Path('1'))
    return LabelledPart(paths, lambda i: labels[i], lambda p: images[int(p.name)], boxes), images


def test_pixels_and_boxes_are_called_by_their_cells(model):
    part, _ = halves()
    weights = classifier(model.texts, NAMES)
    found = segment(model, part, (SIDE, SIDE), weights, ids=(1, 2, 3), shown=(1,), batch_size=1)
    # at the border between two cells bilinear scores change over a column
    assert found.segmentation.mean > 95
    assert found.boxes == {'top1': 100.0, 'mean_class': 100.0}
    assert found.maps.shape == (1, SIDE, SIDE)
    assert found.maps[0, 10, 3] == 1
    assert found.maps[0, 10, 28] == 3


class MeanOfMap(nn.Module):
    """A projector that pools by itself, of no kind that is known here."""

    reads_map = True

    def forward(self, maps):
        return self.values(maps).mean((2, 3))

    def values(self, maps):
        return maps


def test_a_projector_that_pools_is_known_by_what_it_says(model):
    weights = classifier(model.texts, NAMES)
    model.projector = MeanOfMap()
    assert classify(model, [painted(0, 2), painted(1)], weights).tolist() == [0, 2, 1]
    assert model.cells(painted(1)).shape == (1, 3, SIDE // STRIDE, SIDE // STRIDE)


def test_a_wrong_text_is_scored_as_one(model):
    part, _ = halves()
    weights = classifier(model.texts, ('green', 'red', 'blue'))  # the first two exchanged
    found = segment(model, part, (SIDE, SIDE), weights, ids=(1, 2, 3))
    assert found.segmentation.per_class[:2] == pytest.approx((0, 0), abs=5)
    assert found.boxes['top1'] == 25.0


def test_classes_without_a_text_are_not_counted(model):
    part, _ = halves()
    weights = classifier(model.texts, ('red', 'blue'))
    found = segment(model, part, (SIDE, SIDE), weights, ids=(1, 3))
    assert len(found.segmentation.per_class) == 2
    assert found.segmentation.mean > 95
    assert found.boxes['top1'] == 100.0  # the green box is left out


def test_cells_of_a_pooled_map_go_through_the_projector(model):
    with torch.no_grad():
        model.projector.weight.copy_(torch.randn(3, 3, generator=torch.Generator().manual_seed(0)))
    _, images = halves()
    images = torch.from_numpy(images)
    cells = model.cells(images)
    assert cells.shape == (2, 3, SIDE // STRIDE, SIDE // STRIDE)
    mean = images[0].float().mean((0, 1)) / 255
    torch.testing.assert_close(model.images(images)[0], unit(model.projector(mean)))
    torch.testing.assert_close(cells[0, :, 0, 0], unit(model.projector(images[0, 0, 0].float() / 255)))


def test_a_level_of_one_cell_has_no_map(model):
    with pytest.raises(ValueError, match='has one cell; take larger images'):
        model.cells(painted(0)[:, :STRIDE, :STRIDE])


@pytest.mark.parametrize('pooled', ['average', 'attention'])
def test_a_checkpoint_of_a_pretraining_says_what_its_head_says(pooled, tmp_path, monkeypatch):
    tower = dict(
        type='TextTransformer', vocab_size=9, context_length=4, width=8, depth=1, heads=1, projection=5
    )
    how = dict(
        average=dict(projector=dict(type='MLP', channels=(64, 5), bias=False)),
        attention=dict(
            units=dict(type='Image', project='map'),
            projector=dict(type='AttentionPool2d', channels=(64, 5), grid=2),
        ),
    )[pooled]
    head = dict(**how, target=dict(type='Text', tower=tower), objective='Cosine', pairs=((0, 0),))
    config = dict(
        type='SharedPretrainer',
        channels_last=False,
        backbone=dict(type='mmdet.ResNet', depth=18, base_channels=8, out_indices=(3,)),
        heads=dict(text=head),
    )
    torch.manual_seed(0)
    trained = MODELS.build(config).eval()
    loader = dict(dataset=dict(captions=dict(tokenizer=dict(type='Tokenizer', path='a.json'))))
    text = f'model = {config!r}\ntrain_dataloader = {loader!r}\n'
    torch.save(dict(state_dict=trained.state_dict(), meta=dict(cfg=text)), tmp_path / 'a.pth')
    monkeypatch.setattr('densecl.evaluation.zero_shot.TRANSFORMS.build', lambda _: Names())
    model = open_image_text(tmp_path / 'a.pth')
    images = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    with torch.no_grad():
        (level,) = trained.backbone(model.encoder.normalised(images))
        projector = trained.heads['text'].projector
        if pooled == 'average':
            want, cells = projector(level.mean((2, 3))), projector(level.flatten(2).mT)
        else:
            want, cells = projector(level), projector.values(level).flatten(2).mT
    torch.testing.assert_close(model.images(images), F.normalize(want))
    torch.testing.assert_close(model.cells(images).flatten(2).mT, F.normalize(cells, dim=2))


def test_other_checkpoints_are_refused(tmp_path):
    config = "model = dict(heads=dict(image=dict(objective='Cosine')))"
    torch.save(dict(state_dict={'a.weight': torch.ones(1)}, meta=dict(cfg=config)), tmp_path / 'a.pth')
    with pytest.raises(ValueError, match=r"no head with target=dict\(type='Text', ...\), only \['image'\]"):
        open_image_text(tmp_path / 'a.pth')


def test_a_neck_is_refused(tmp_path):
    config = "model = dict(neck=dict(type='FPN'), heads=dict(text=dict(target=dict(type='Text', tower={}))))"
    torch.save(dict(state_dict={'a.weight': torch.ones(1)}, meta=dict(cfg=config)), tmp_path / 'a.pth')
    with pytest.raises(ValueError, match=r'its head reads levels of model\.neck, .* without neck'):
        open_image_text(tmp_path / 'a.pth')


def test_an_activation_is_asked_for_of_clips_files_alone(tmp_path):
    torch.save(dict(state_dict={'a.weight': torch.ones(1)}, meta=dict(cfg='a = 1')), tmp_path / 'a.pth')
    with pytest.raises(ValueError, match=r'no file of CLIP, .* leave quick_gelu out'):
        open_image_text(tmp_path / 'a.pth', quick_gelu=True)


TOOL = Path(__file__).parents[2] / 'tools' / 'make_captions.py'
made = runpy.run_path(str(TOOL))


def test_captions_of_objects(tmp_path):
    (tmp_path / 'a.json').write_text(
        '{"images": [{"id": 1, "file_name": "x.jpg"}, {"id": 2, "file_name": "y.jpg"}],'
        '"categories": [{"id": 5, "name": "bus"}, {"id": 6, "name": "person"}],'
        '"annotations": [{"image_id": 1, "category_id": 6}, {"image_id": 1, "category_id": 5},'
        '{"image_id": 1, "category_id": 6}]}'
    )
    assert list(made['of_objects'](tmp_path, 'a.json', 'train')) == [
        ('train/x.jpg', 'a photo of two people and a bus'),
        ('train/x.jpg', 'a photo of two people'),
        ('train/x.jpg', 'a photo of a bus'),
    ]


@pytest.mark.parametrize(('thing', 'count', 'said'), [
    ('apple', 1, 'an apple'), ('wine glass', 3, 'three wine glasses'), ('dog', 11, 'many dogs'),
    ('sheep', 10, 'ten sheep'), ('couch', 2, 'two couches'),
])  # fmt: skip
def test_numbers_and_plurals(thing, count, said):
    assert made['counted'](thing, count) == said


def test_captions_of_folders(tmp_path, monkeypatch, capsys):
    (tmp_path / 'shop' / 'Apple' / 'Granny-Smith').mkdir(parents=True)
    import cv2

    cv2.imwrite(str(tmp_path / 'shop/Apple/Granny-Smith/1.png'), np.zeros((4, 4, 3), np.uint8))
    out = tmp_path / 'captions.csv'
    monkeypatch.setattr(sys, 'argv', ['x', str(tmp_path), '--folders', 'shop', '--out', str(out)])
    made['main']()
    assert '2 captions of 1 photos' in capsys.readouterr().out
    lines = out.read_text().splitlines()
    name = 'shop/Apple/Granny-Smith/1.png'
    assert lines == ['image,caption', f'{name},a photo of granny smith', f'{name},a photo of apple']
