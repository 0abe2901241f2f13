"""Labelled images of other sensors are read as the weights' own images were; what does not fit is named."""

import cv2
import numpy as np
import pytest
import tifffile
import torch
from mmengine.config import ConfigDict
from oracles.sensor_files import four_bands, write_labelled

from densecl.datasets import SensorDecoder, UnreadableImageError
from densecl.evaluation.features import (
    FrozenEncoder,
    extract_features,
    labelled_images,
    load_encoder,
    open_encoder,
    random_encoder,
)
from densecl.evaluation.labelled import open_labelled, scaled
from densecl.evaluation.measuring import Measuring
from densecl.evaluation.probes import draw_probe, picture_names, probe
from densecl.registry import MODELS
from densecl.sample import sample_root
from densecl.transfer.record import build_decoder

MEAN, STD = [1600.0, 1500.0, 1400.0, 2000.0], [900.0, 800.0, 850.0, 700.0]
DECODER = dict(type='SensorDecoder', channels=4, dtype='uint16')
CONFIG = ConfigDict(
    model=dict(
        backbone=dict(type='mmdet.ResNet', depth=18, in_channels=4),
        data_preprocessor=dict(type='PretrainDataPreprocessor', mean=MEAN, std=STD),
    ),
    train_dataloader=dict(dataset=dict(decoder=DECODER)),
)


@pytest.fixture(scope='module')
def field(tmp_path_factory):
    """Twenty tiffs of 12 bits and four channels, with label maps and with a COCO json."""
    return write_labelled(tmp_path_factory.mktemp('labelled'))


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """Of a run with four channels; its backbone is at random weights."""
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp('weights') / 'epoch_1.pth'
    tensors = MODELS.build(dict(CONFIG.model.backbone)).state_dict()
    text = ''.join(f'{name} = {value.to_dict()!r}\n' for name, value in CONFIG.items())
    torch.save(dict(meta=dict(cfg=text), state_dict={f'backbone.{k}': v for k, v in tensors.items()}), path)
    return path


@pytest.mark.parametrize('kind', ['maps', 'coco'])
def test_values_and_labels_of_a_batch(field, kind):
    found = open_labelled(field if kind == 'maps' else field / 'boxes.json', decoder=SensorDecoder(4))
    size = found.use_size()
    assert found.test.images and {path.suffix for path in found.test.images} == {'.tif'}
    images, labels = next(found.test.batches(size, 3))
    assert images.dtype == torch.uint16 and images.shape == (3, *size, 4)
    photo = sample_root() / 'detection/train' / f'{found.test.images[1].stem}.jpg'
    np.testing.assert_array_equal(images[1].numpy(), scaled(four_bands(photo, 96), size))
    assert images.int().max() > 3000 and labels.shape == (3, *size)
    truth = cv2.imread(str(field / 'labels' / f'{found.test.images[1].stem}.png'), cv2.IMREAD_UNCHANGED)
    if kind == 'maps':
        expected = cv2.resize(truth, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
        np.testing.assert_array_equal(labels[1].numpy(), expected)
    else:
        assert found.classes[0] == 'background' and (labels[1] > 0).any()


def test_folders_of_any_file_that_the_decoder_reads(tmp_path):
    """npy of one float channel, in a folder that a link leads to."""
    there = tmp_path / 'elsewhere'
    for part in ('train', 'test'):
        for name in ('images', 'labels'):
            (there / name / part).mkdir(parents=True)
            (tmp_path / 'set' / name).mkdir(parents=True, exist_ok=True)
            (tmp_path / 'set' / name / part).symlink_to(there / name / part)
        for i in range(10):
            label = np.zeros((32, 48), np.uint8)
            label[8:24, i : i + 20] = 1
            np.save(there / 'images' / part / f'{i}.npy', label * 7.5 - 3)
            cv2.imwrite(str(there / 'labels' / part / f'{i}.png'), label)
    found = open_labelled(tmp_path / 'set', decoder=SensorDecoder(1, dtype='float32'))
    assert len(found.train) == len(found.test) == 10 and not found.notes
    images, labels = next(found.train.part([2, 3]).batches((32, 48)))
    assert images.shape == (2, 32, 48, 1) and images.dtype == torch.float32
    assert torch.equal(images[..., 0], labels * 7.5 - 3)
    with pytest.raises(ValueError, match='no image has a label map of its name'):
        open_labelled(tmp_path / 'set')


def test_the_encoder_carries_the_decoder_and_takes_any_depth(checkpoint, field):
    encoder = load_encoder(checkpoint)
    assert (encoder.decoder.channels, encoder.decoder.dtype) == (4, 'uint16')
    image = torch.from_numpy(encoder.decoder(sorted((field / 'images').iterdir())[0]))[None]
    assert image.dtype == torch.uint16
    planes = (image.double() - torch.tensor(MEAN)) / torch.tensor(STD)
    backbone = encoder.backbone
    backbone.eval()
    with torch.no_grad():
        expected = backbone(planes.float().permute(0, 3, 1, 2))[-1]
    for given in (image, image.float()):
        torch.testing.assert_close(encoder.maps(given), expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(encoder(given), expected.mean((2, 3)), rtol=1e-4, atol=1e-4)
    assert random_encoder(CONFIG).decoder.channels == 4 and build_decoder({}) is None
    assert FrozenEncoder(backbone).decoder is None


def test_weights_for_rgb_are_inflated_and_read_as_the_config_says(tmp_path, field):
    model = MODELS.build(dict(type='mmdet.ResNet', depth=18))
    meta = dict(cfg="model = dict(backbone=dict(type='mmdet.ResNet', depth=18))")
    torch.save(dict(meta=meta, state_dict={f'backbone.{k}': v for k, v in model.state_dict().items()}),
               tmp_path / 'rgb.pth')  # fmt: skip
    encoder = open_encoder(tmp_path / 'rgb.pth', config=CONFIG)
    assert encoder.decoder.channels == 4 and encoder.mean.flatten().tolist() == MEAN
    stem = torch.cat([model.conv1.weight, model.conv1.weight.mean(1, keepdim=True)], 1) * 3 / 4
    torch.testing.assert_close(encoder.backbone.conv1.weight, stem)
    assert load_encoder(tmp_path / 'rgb.pth').decoder is None


def test_both_probes_and_pictures(checkpoint, field, tmp_path):
    encoder = load_encoder(checkpoint)
    labelled = open_labelled(field, decoder=encoder.decoder)
    found = probe(encoder, labelled, (64, 96), level=0, shown=3)
    for score in found.scores().values():
        assert 0 < score.mean <= 100
    pictures = draw_probe(found, labelled, (64, 96), tmp_path)
    assert [p.stem for p in pictures] == [labelled.test.images[i].stem for i in (0, 3, 6)]
    drawn = cv2.imread(str(pictures[0]))
    assert drawn.shape == (64, 3 * 96 + 2 * 6, 3) and drawn.max() - drawn.min() > 150


def test_the_guard_measures_on_both(checkpoint, field):
    encoder = load_encoder(checkpoint)
    images = Measuring(str(field / 'images'), 8, (96, 96), field, decoder=encoder.decoder)
    images.set_start(encoder)
    found = images.measure(encoder)
    assert set(found.scores()) == {'linear', 'retrieval'} and found.signals['cka'].value == pytest.approx(1)


def test_nearest_neighbours(checkpoint, field, tmp_path):
    for number, path in enumerate(sorted((field / 'images').iterdir())[:4]):
        (tmp_path / str(number % 2)).mkdir(exist_ok=True)
        (tmp_path / str(number % 2) / path.name).symlink_to(path)
    encoder = load_encoder(checkpoint)
    features, labels = extract_features(encoder, labelled_images(tmp_path, None, 32, encoder.decoder), 2)
    assert features.shape == (4, 512) and features.isfinite().all() and labels.tolist() == [0, 0, 1, 1]


def test_other_images_are_refused_by_name(field, tmp_path):
    """RGB photos and a wrong depth: the file, what was expected, what to do, in one line."""
    decoder = build_decoder(CONFIG)
    photo = next((sample_root() / 'detection/train').glob('*.jpg'))
    part = open_labelled(field, decoder=decoder).test
    shape = part.read(0).shape
    cases = {
        'photo.png': (cv2.imread(str(photo)), '3 channels .uint8.*channels=4 was expected: give images of'),
        'eight.tif': (
            np.zeros((*shape, 4), np.uint8),
            "holds uint8 values.*dtype='uint16' was expected: conv",
        ),
    }
    for name, (pixels, message) in cases.items():
        pixels = cv2.resize(pixels, shape[::-1])
        if name.endswith('tif'):
            tifffile.imwrite(tmp_path / name, pixels, photometric='minisblack', planarconfig='contig')
        else:
            cv2.imwrite(str(tmp_path / name), pixels)
        other = type(part)((tmp_path / name,), part.read, part.decode)
        with pytest.raises(UnreadableImageError, match=f'{name} .*{message}') as caught:
            list(other.batches(shape))
        assert '\n' not in str(caught.value)
    with pytest.raises(UnreadableImageError, match=r'cannot read image .*\.tif as RGB: it has 4 channels'):
        list(open_labelled(field).test.batches((96, 96)))


def test_pictures_of_equal_names(tmp_path):
    a, b = tmp_path / 'a', tmp_path / 'b'
    assert [str(p) for p in picture_names([a / '1.tif', b / '1.tif'])] == ['a/1.png', 'b/1.png']
    names = picture_names([a / '1.jpg', a / '1.tif', a / '2.tif'])
    assert [str(p) for p in names] == ['1.jpg.png', '1.tif.png', '2.png']
    assert picture_names([]) == []
