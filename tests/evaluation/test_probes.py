"""All probes on one labelled set: public functions, the command and its report."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from oracles import segmentation as oracle
from torch import nn

from densecl.evaluation import dense_structure, probes, retrieve_labels
from densecl.evaluation.dse import dse
from densecl.evaluation.features import FrozenEncoder, dense_features
from densecl.evaluation.labelled import open_labelled
from densecl.evaluation.probes import PROBES, probe
from densecl.tools import run_tool

CONFIG = Path(__file__).parents[2] / 'configs/quickstart/densecl_resnet18_sample.py'


@pytest.fixture(scope='module')
def objects(tmp_path_factory):
    """24 images of 48 x 64, each with one object of colour 1 or 2 on a grey ground; class 3 has none."""
    root = tmp_path_factory.mktemp('objects')
    images, annotations = [], []
    for i in range(24):
        x, y, kind = 16 * (i % 3), 16 * (i % 2), 1 + i % 5 % 2
        image = np.full((48, 64, 3), 90, np.uint8)
        image[y : y + 16, x : x + 16] = 0
        image[y : y + 16, x : x + 16, kind] = 255
        cv2.imwrite(str(root / f'{i}.png'), image)
        images.append(dict(id=i, file_name=f'{i}.png', height=48, width=64))
        annotations.append(dict(id=i, image_id=i, category_id=kind, bbox=[x, y, 16, 16], iscrowd=0))
    annotations += [dict(id=24, image_id=0, category_id=1, bbox=[0, 0, 64, 48], iscrowd=1)]
    annotations += [dict(id=25, image_id=1, category_id=1, bbox=[64, 0, 5, 5], iscrowd=0)]  # beside the image
    categories = [dict(id=c, name=name) for c, name in ((1, 'green'), (2, 'red'), (3, 'blue'))]
    path = root / 'instances.json'
    path.write_text(json.dumps(dict(images=images, annotations=annotations, categories=categories)))
    return path


class Colours(nn.Module):
    """A backbone whose two levels are mean colours of cells."""

    def forward(self, x):
        return nn.functional.avg_pool2d(x, 8), nn.functional.avg_pool2d(x, 16)


class TestProbes:
    def test_maps_that_hold_the_classes_give_nearly_all(self, objects):
        labelled = open_labelled(objects)
        found = probe(FrozenEncoder(Colours()), labelled, (48, 64), 0, probes=PROBES, clusters=(3, 6))
        assert found.discovery.corloc == 100 and found.discovery.whole == 0
        assert found.boxes.knn['mean_class'] == found.boxes.linear['mean_class'] == 100
        assert found.boxes.absent == (3,) and found.boxes.memory + found.boxes.tested == 24
        assert [each.clusters for each in found.clusters] == [3, 6]
        assert min(found.clusters[0].hungarian) > 70  # of four classes one is absent
        assert found.scores()['retrieval'].mean > 90 and found.scores()['retrieval'].absent == (3,)
        assert set(found.seconds) == {'features', *PROBES}

    def test_only_what_is_asked_and_the_images_that_it_needs(self, objects):
        labelled = open_labelled(objects)
        lost = labelled.train.part(())  # nothing to learn from
        only = type(labelled)(lost, labelled.test, labelled.classes)
        found = probe(FrozenEncoder(Colours()), only, (48, 64), probes=('discovery', 'clusters'))
        assert found.linear is found.retrieval is found.boxes is None and not found.scores()
        assert [each.clusters for each in found.clusters] == [4, 12]

    def test_two_seeds_share_no_clustering(self, objects, monkeypatch):
        labelled, seen = open_labelled(objects), []
        monkeypatch.setattr(probes, 'overclustering', lambda *given: seen.extend(given[-1]) or [])
        for seed in range(3):
            probe(FrozenEncoder(Colours()), labelled, (48, 64), seed=seed, probes=('clusters',))
        assert len(seen) == len(set(seen)) == 9

    def test_what_cannot_be_probed_is_said(self, objects, tmp_path):
        labelled = open_labelled(objects)
        encoder = FrozenEncoder(Colours())
        with pytest.raises(ValueError, match='must be some of'):
            probe(encoder, labelled, (48, 64), probes=('box',))
        for folder in ('images', 'labels'):
            (tmp_path / folder).mkdir()
        for i in range(20):
            cv2.imwrite(str(tmp_path / f'images/{i}.png'), np.zeros((16, 16, 3), np.uint8))
            cv2.imwrite(str(tmp_path / f'labels/{i}.png'), np.eye(16, dtype=np.uint8))
        with pytest.raises(ValueError, match='the probe "boxes" needs boxes; give a COCO json'):
            probe(encoder, open_labelled(tmp_path), (16, 16), probes=('boxes',))

    def test_boxes_of_the_file(self, objects):
        labelled = open_labelled(objects, objects)
        places, ids = labelled.train.boxes(1)
        np.testing.assert_allclose(places, [[16 / 64, 16 / 48, 32 / 64, 32 / 48]])
        assert (places.dtype, ids.tolist()) == (np.float64, [2])
        assert len(labelled.train.boxes(0)[1]) == 1  # not the crowd
        np.testing.assert_array_equal(labelled.test.part([4, 1]).boxes(1)[0], places)


def test_command(objects, tmp_path, capsys):
    command = (
        f'random --config {CONFIG} --labelled {objects} --level 0 --clusters 5 --out {tmp_path / "a.json"}'
    )
    with pytest.raises(SystemExit, match='0'):
        run_tool('probe', [*command.split(), '--probes', *PROBES])
    said = capsys.readouterr().out
    content = json.loads((tmp_path / 'a.json').read_text())
    assert set(PROBES) <= set(content) and content['boxes']['absent'] == [3]
    memory, tested = content['train_images'], content['test_images']
    for line in (
        'retrieval  mIoU',
        f'(K 5, {content["clusters"][0]["cells"]} test cells, 3 seeds)',
        'one that is absent from the test part counts 0',
        f'({tested} images, 0 without a box left out, ',
        f'(memory {memory} boxes, {tested} to classify, k {memory}, temperature 0.07)',
        'without a test box and not in the mean: blue',
        'absent from the test part and not in the mean: blue',
    ):
        assert line in said
    with pytest.raises(SystemExit) as stopped:
        run_tool('probe', [*command.split(), '--probes', 'boxes', '--pictures', str(tmp_path)])
    assert '--pictures draws the probes linear and retrieval' in str(stopped.value) + capsys.readouterr().err


class TestRetrieveLabels:
    def test_agrees_with_a_loop_over_queries(self):
        query, keys = torch.randn(20, 6).double(), torch.randn(30, 6).double()
        labels = torch.rand(30, 4).softmax(1)
        found = retrieve_labels(query, keys, labels, 7, 0.1)
        wanted = [oracle.retrieved(q, keys.tolist(), labels.tolist(), 7, 0.1) for q in query.tolist()]
        torch.testing.assert_close(found, torch.stack(wanted))
        torch.testing.assert_close(retrieve_labels(5 * query, 3 * keys, labels, 7, 0.1), found)

    def test_one_key_and_integer_labels(self):
        labels = torch.eye(3, dtype=torch.int64)
        assert torch.equal(retrieve_labels(torch.eye(3), torch.eye(3), labels, 1, 0.02), torch.eye(3))
        assert retrieve_labels(torch.zeros(0, 3), torch.eye(3), labels, 1, 0.02).shape == (0, 3)

    @pytest.mark.parametrize(
        ('change', 'said'),
        (
            (dict(query=torch.ones(2, 4)), r'must be \(Q, D\) and \(M, D\)'),
            (dict(labels=torch.ones(4, 2)), r'must be \(5, C\)'),
            (dict(neighbours=6), r'must be in 1\.\.5'),
            (dict(temperature=0.0), 'temperature above 0'),
        ),
    )
    def test_what_is_wrong_is_said(self, change, said):
        given = dict(query=torch.ones(2, 3), keys=torch.ones(5, 3), labels=torch.ones(5, 2))
        with pytest.raises(ValueError, match=said):
            retrieve_labels(**given | dict(neighbours=2, temperature=0.1) | change)


class TestDenseStructure:
    def test_it_is_dse_of_cells(self):
        maps, before = torch.randn(9, 5, 3, 4), torch.get_rng_state()
        cells = maps.flatten(2).transpose(1, 2)
        assert dense_structure(cells) == dse(maps, seed=0)
        assert dense_structure(cells, torch.Generator().manual_seed(4)) == dse(maps, seed=4)
        assert torch.equal(torch.get_rng_state(), before)
        with pytest.raises(ValueError, match=r'must be \(B, N, D\), got \(9, 5, 3, 4\)'):
            dense_structure(maps)


@pytest.mark.gpu
def test_maps_stay_on_the_device_and_give_the_same(objects):
    encoder, labelled = FrozenEncoder(Colours()), open_labelled(objects)
    here = probe(encoder, labelled, (48, 64), 0, probes=PROBES)
    there = probe(encoder.cuda(), labelled, (48, 64), 0, probes=PROBES)
    images = torch.zeros(2, 32, 32, 3, dtype=torch.uint8)
    assert dense_features(encoder, [images], count=2).is_cuda
    assert not dense_features(encoder, [images], count=10**12).is_cuda
    assert (there.discovery, there.boxes) == (here.discovery, here.boxes)
    for name, score in here.scores().items():
        assert there.scores()[name].mean == pytest.approx(score.mean, abs=1)
