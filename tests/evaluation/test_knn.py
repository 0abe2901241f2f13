"""Neighbours vote as in a naive loop; the command runs on real photos."""

import json
import math
import os
import runpy
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from densecl.evaluation import class_accuracy, knn, knn_predict
from densecl.evaluation.features import (
    FrozenEncoder,
    extract_features,
    labelled_images,
    load_encoder,
    random_encoder,
)
from densecl.registry import MODELS
from densecl.sample import sample_root
from densecl.transfer import export_backbone, save_export

ROOT = Path(__file__).parents[2]


def naive(queries, bank, labels, k, temperature, leave_one_out):
    """Loops in float64: cosine, sort, exp(s / T) a vote."""
    predicted = []
    for i, query in enumerate(queries.double().tolist()):
        found = []
        for j, row in enumerate(bank.double().tolist()):
            norms = math.sqrt(sum(a * a for a in query)) * math.sqrt(sum(b * b for b in row))
            cosine = sum(a * b for a, b in zip(query, row, strict=True)) / norms
            if not (leave_one_out and i == j):
                found.append((cosine, int(labels[j])))
        votes = defaultdict(float)
        for cosine, label in sorted(found, reverse=True)[:k]:
            votes[label] += math.exp(cosine / temperature)
        predicted.append(max(sorted(votes), key=lambda c: votes[c]))
    return predicted


@pytest.mark.parametrize('leave_one_out', [False, True])
@pytest.mark.parametrize('tile', [1 << 24, 100])
@pytest.mark.parametrize('temperature', [0.07, 1.0])
def test_against_loops(leave_one_out, tile, temperature, monkeypatch):
    monkeypatch.setitem(knn._TILE, 'cpu', tile)
    centres = torch.randn(6, 8, dtype=torch.float64)
    labels = torch.randint(0, 6, (60,))
    bank = (centres[labels] + torch.randn(60, 8)) * torch.rand(60, 1).add(0.1)
    queries = bank if leave_one_out else centres[torch.randint(0, 6, (40,))] + torch.randn(40, 8)
    found = knn_predict(queries, bank, labels, (1, 5, 20), temperature, leave_one_out)
    for k, predicted in found.items():
        assert predicted.tolist() == naive(queries, bank, labels, k, temperature, leave_one_out)
    # float32 rounds; nothing here is that close to a tie
    single = knn_predict(queries.float(), bank.float(), labels, (5,), temperature, leave_one_out)
    assert torch.equal(single[5], found[5])


def test_one_neighbour_finds_itself_unless_left_out():
    bank, labels = torch.randn(30, 16), torch.arange(30)
    assert torch.equal(knn_predict(bank, bank, labels, (1,))[1], labels)
    left_out = knn_predict(bank, bank, labels, (1,), leave_one_out=True)[1]
    assert (left_out != labels).all()


def test_near_votes_outweigh_many():
    bank = torch.tensor([[1.0, 0], [0, 1], [0.1, 1], [-0.1, 1]])
    query, labels = torch.tensor([[1.0, 0.1]]), torch.tensor([0, 1, 1, 1])
    assert knn_predict(query, bank, labels, (4,), 0.07)[4].item() == 0
    assert knn_predict(query, bank, labels, (4,), 10.0)[4].item() == 1


def test_accuracies_by_hand():
    labels = torch.tensor([0, 0, 0, 3])
    values = class_accuracy(torch.tensor([0, 0, 1, 2]), labels)
    assert values['top1'] == pytest.approx(50)
    assert values['mean_class'] == pytest.approx(100 / 3)  # 2/3 of class 0, nothing of class 3


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'neighbors': (9,)}, r'neighbors must be in 1..8.*\(9,\)'),
        ({'neighbors': (8,), 'leave_one_out': True}, r'neighbors must be in 1..7'),
        (
            {'bank': torch.ones(0, 4), 'labels': torch.ones(0).long()},
            r'neighbors must be in 1..0, the features',
        ),
        ({'labels': torch.full((8,), -1)}, 'from 0'),
        ({'labels': torch.zeros(7, dtype=torch.int64)}, 'labels must be 8'),
        ({'queries': torch.ones(8, 5)}, r'\(8, 5\) and \(8, 4\)'),
    ],
)
def test_bad_input_is_named(change, message):
    given = dict(queries=torch.randn(8, 4), bank=torch.randn(8, 4), labels=torch.arange(8))
    with pytest.raises(ValueError, match=message):
        knn_predict(**(given | dict(neighbors=(1,)) | change))


# -- features ---------------------------------------------------------------------------------------


class Tokens(torch.nn.Module):
    """Last level of a transformer: a map and a class token."""

    def forward(self, x):
        return x, (x, x.amax((2, 3)))


def test_maps_are_averaged_and_class_tokens_taken():
    images = torch.randint(0, 256, (3, 8, 8, 3), dtype=torch.uint8)
    record = dict(mean=[1.0, 2.0, 3.0], std=[10.0, 20.0, 30.0])
    planes = (images.float() - torch.tensor(record['mean'])) / torch.tensor(record['std'])
    pooled = FrozenEncoder(torch.nn.Identity(), record)(images)
    torch.testing.assert_close(pooled, planes.mean((1, 2)))
    torch.testing.assert_close(FrozenEncoder(Tokens(), record)(images), planes.amax((1, 2)))
    bgr = FrozenEncoder(torch.nn.Identity(), record | dict(channel_order='BGR'))(images)
    swapped = (images.flip(3).float() - torch.tensor(record['mean'])) / torch.tensor(record['std'])
    torch.testing.assert_close(bgr, swapped.mean((1, 2)))


def tiny_config() -> Config:
    head = dict(
        projector=dict(type='MLP', channels=(512, 8)),
        objective=dict(type='InfoNCE', queue=16, dim=8, temperature=0.2),
    )
    model = dict(
        type='MomentumPretrainer',
        backbone=dict(type='TorchvisionResNet', arch='resnet18'),
        heads=dict(image=head),
        data_preprocessor=dict(type='PretrainDataPreprocessor', mean=[100.0] * 3, std=[50.0] * 3),
    )
    return Config(dict(model=model))


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """A checkpoint whose branches differ."""
    cfg = tiny_config()
    torch.manual_seed(1)
    model = MODELS.build(cfg.model)
    model.init_target()
    model.target.backbone.load_state_dict(MODELS.build(cfg.model.backbone).state_dict())
    path = tmp_path_factory.mktemp('run') / 'epoch_1.pth'
    torch.save(dict(meta=dict(cfg=cfg.pretty_text), state_dict=model.state_dict()), path)
    return path, model.eval()


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    """Two classes of the bundled photos, 12 each."""
    root = tmp_path_factory.mktemp('photos')
    for name in ('clothing', 'grocery'):
        (root / name).mkdir()
        for photo in sorted((sample_root() / 'photos' / name).glob('*.jpg'))[:12]:
            shutil.copy(photo, root / name)
    return root


def test_features_are_those_of_the_branch(checkpoint, photos, tmp_path):
    path, model = checkpoint
    data = labelled_images(photos, size=64)
    image = data[5].images[0]
    planes = (image.permute(2, 0, 1)[None].float() - 100) / 50
    with torch.no_grad():
        expected = {
            'online': model.backbone(planes)[-1].mean((2, 3))[0],
            'target': model.target.backbone(planes)[-1].mean((2, 3))[0],
        }
    for branch, row in expected.items():
        features, labels = extract_features(load_encoder(path, branch), data, batch_size=5)
        torch.testing.assert_close(features[5], row, rtol=1e-4, atol=1e-5)
        assert labels.tolist() == [0] * 12 + [1] * 12
    assert not torch.allclose(expected['online'], expected['target'], rtol=1e-2)
    out = save_export(export_backbone(path, 'mmdet', 'target'), tmp_path / 'a.pth')
    features, _ = extract_features(load_encoder(out), data)
    torch.testing.assert_close(features[5], expected['target'], rtol=1e-4, atol=1e-5)


def test_random_encoders_differ_by_their_seed_alone():
    cfg = tiny_config()
    image = torch.randint(0, 256, (1, 32, 32, 3), dtype=torch.uint8)
    one, again, other = (random_encoder(cfg, seed)(image) for seed in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert random_encoder(cfg).mean.flatten().tolist() == [100.0] * 3


def test_lists_need_labels(photos):
    (photos / 'plain.txt').write_text('clothing/000000015.jpg\n')
    with pytest.raises(ValueError, match='plain.txt must give every image a class id'):
        labelled_images(photos, 'plain.txt')


def test_a_checkpoint_without_config(checkpoint):
    with pytest.raises(ValueError, match='carries no config'):
        load_encoder(dict(state_dict=checkpoint[1].state_dict()))


# -- the command ------------------------------------------------------------------------------------


def test_command(checkpoint, photos, tmp_path):
    lines = [f'{p.parent.name}/{p.name} {p.parent.name == "grocery":d}' for p in photos.glob('*/*.jpg')]
    (photos / 'test.txt').write_text('\n'.join(sorted(lines)[::3]))
    out = tmp_path / 'figures.json'
    command = [
        sys.executable, '-m', 'densecl', 'knn', checkpoint[0], '--branch', 'target', '--size', 64,
        '--train', photos, '--test', photos, '--test-list', 'test.txt', '--k', 1, 5, '--linear', '--out', out,
    ]  # fmt: skip
    environment = os.environ | {'PYTHONPATH': str(ROOT)}
    done = subprocess.run(
        list(map(str, command)), cwd=tmp_path, env=environment,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert '8 images by 24, 2 classes, 512 channels' in done.stdout
    figures = json.loads(out.read_text())
    assert (figures['train'], figures['test'], figures['branch']) == (24, 8, 'target')
    assert figures['linear']['top1'] == 100 and 'linear  top-1 100.00 %' in done.stdout
    assert figures['knn']['1'] == {'top1': 100, 'mean_class': 100}  # the images are in the bank


def call(monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', ['knn', *map(str, arguments)])
    runpy.run_path(str(ROOT / 'tools/knn.py'), run_name='__main__')


def test_leave_one_out_on_a_random_backbone(photos, tmp_path, monkeypatch, capsys):
    (tmp_path / 'config.py').write_text(tiny_config().pretty_text)
    config = ['--config', tmp_path / 'config.py', '--size', 32, '--workers', 0, '--k', 1]
    call(monkeypatch, 'random', '--train', photos, '--leave-one-out', *config)
    line = next(x for x in capsys.readouterr().out.splitlines() if x.startswith('k = 1'))
    features, labels = extract_features(random_encoder(tiny_config()), labelled_images(photos, size=32))
    found = naive(features, features, labels, 1, 0.07, True)
    right = sum(a == b for a, b in zip(found, labels.tolist(), strict=True))
    assert f'{100 * right / 24:.2f} %' in line


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['random', '--leave-one-out'], '"random" needs --config'),
        (['a.pth', '--leave-one-out', '--linear'], '--linear learns from --train'),
        (['a.pth'], 'either --test or --leave-one-out'),
    ],
)
def test_command_says_what_is_missing(photos, arguments, message, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        call(monkeypatch, *arguments, '--train', photos)
    assert message in capsys.readouterr().err


def test_other_class_folders_are_named(photos, checkpoint, tmp_path, monkeypatch, capsys):
    (tmp_path / 'clothing').mkdir()
    shutil.copy(next(photos.glob('clothing/*.jpg')), tmp_path / 'clothing')
    with pytest.raises(SystemExit, match='2'):
        call(monkeypatch, checkpoint[0], '--train', photos, '--test', tmp_path)
    assert 'need the same class folders; only one has grocery' in capsys.readouterr().err


def test_of_a_transformer_the_class_token_counts():
    from densecl.models.backbones import TimmViT

    backbone = TimmViT(embed_dim=16, depth=2, num_heads=2, patch_size=16, img_size=32).eval()
    images = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    encoder = FrozenEncoder(backbone)
    normalised = (images.permute(0, 3, 1, 2).float() - encoder.mean) / encoder.std
    with torch.no_grad():
        token = backbone(normalised)[-1].flatten(1)
    torch.testing.assert_close(encoder(images), token)
