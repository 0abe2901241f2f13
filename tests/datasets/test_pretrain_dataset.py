"""The dataset through real loaders: values, determinism, errors, mmengine's runner."""

import io
import shutil
import tarfile

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from PIL import Image
from torch.utils.data import DataLoader

from densecl.datasets import (
    PretrainDataset,
    PretrainSampler,
    SampleKey,
    UnreadableImageError,
    collate_views,
)
from densecl.structures import Views

PIPELINE = [
    {
        'type': 'MultiView',
        'views': [
            {
                'count': 2,
                'size': 32,
                'scale': (0.2, 1.0),
                'flip': 0.5,
                'photometric': {'brightness': 0.4, 'jitter_prob': 0.8, 'blur_prob': 0.5},
            }
        ],
        'photometric_on': 'device',
    }
]


def photo(seed, size=(50, 40)):
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)).resize(size)


@pytest.fixture
def folder(tmp_path):
    for i in range(12):
        photo(i, (50 + i, 40)).save(tmp_path / f'{i:02d}.jpg')
    return tmp_path


def load(dataset, workers=0, epoch=0, start=0, **options):
    """All batches of an epoch."""
    sampler = PretrainSampler(dataset, seed=1)
    sampler.set_epoch(epoch)
    sampler.set_start(start)
    loader = DataLoader(dataset, 4, sampler=sampler, num_workers=workers, collate_fn=collate_views, **options)
    return [batch['inputs'] for batch in loader]


def same(a: Views, b: Views) -> bool:
    photometric = [
        torch.equal(getattr(p, name), getattr(q, name))
        for p, q in zip(a.photometric, b.photometric, strict=True)
        for name in ('order', 'factors', 'jitter', 'gray', 'sigma', 'solarize')
    ]
    tensors = zip([*a.images, *a.boxes, *a.flipped], [*b.images, *b.boxes, *b.flipped], strict=True)
    return all(photometric) and all(torch.equal(x, y) for x, y in tensors) and a.paths == b.paths


def all_same(first, second):
    return len(first) == len(second) and all(map(same, first, second))


def test_results_before_any_transform(folder):
    results = PretrainDataset(folder)[3]
    np.testing.assert_array_equal(results['image'], Image.open(folder / '03.jpg'))
    assert results['path'] == str(folder / '03.jpg')
    assert (results['index'], results['label'], results['source_size']) == (3, None, (40, 53))
    drawn = np.random.default_rng((0, 0, 3)).random()
    assert results['rng'].random() == drawn
    assert PretrainDataset(folder, seed=5)[SampleKey(2, 3)]['rng'].random() == (
        np.random.default_rng((5, 2, 3)).random()
    )


def test_sources_are_built_from_their_config(folder, tmp_path_factory):
    (folder / 'list.txt').write_text('01.jpg\n05.jpg\n')
    listed = PretrainDataset(folder, source={'type': 'ListFile', 'list_file': 'list.txt'})
    assert [listed[i]['path'][-6:] for i in range(2)] == ['01.jpg', '05.jpg']
    other = shutil.copytree(folder, tmp_path_factory.mktemp('other') / 'photos')
    assert len(PretrainDataset([folder, other])) == 24


def test_labels_and_class_names(folder):
    (folder / 'cat').mkdir()
    (folder / '03.jpg').rename(folder / 'cat' / '03.jpg')
    dataset = PretrainDataset(folder, source={'type': 'ImageNet'}, pipeline=PIPELINE)
    assert dataset.metainfo == {'classes': ('cat',)} and dataset[0].label == 0
    assert PretrainDataset(folder).metainfo == {}


def test_labels_of_a_batch(folder):
    """int64 (B,) with -1 for unknown classes; None where the source knows no classes."""
    (folder / 'list.txt').write_text('01.jpg 7\n05.jpg -1\n')
    (folder / 'images.json').write_text('{"images": [{"file_name": "02.jpg"}]}')
    sources = {
        'labelled': {'type': 'ListFile', 'list_file': 'list.txt'},
        'plain': {'type': 'Folder'},
        'coco': {'type': 'Coco', 'ann_file': 'images.json'},
    }
    found = {name: load(PretrainDataset(folder, s, PIPELINE))[0] for name, s in sources.items()}
    labels = found['labelled'].labels
    assert labels.dtype == torch.int64 and sorted(labels.tolist()) == [-1, 7]
    assert found['plain'].labels is None and found['coco'].labels is None


def test_same_key_same_views_other_key_other_views(folder):
    dataset = PretrainDataset(folder, pipeline=PIPELINE)
    order = [dataset[i] for i in (5, 2, 5)]
    assert all(map(torch.equal, order[0].images, order[2].images))
    assert torch.equal(dataset[5].boxes, dataset[SampleKey(0, 5)].boxes)
    assert not torch.equal(dataset[5].boxes, dataset[SampleKey(1, 5)].boxes)
    other = PretrainDataset(folder, pipeline=PIPELINE, seed=1)
    assert not torch.equal(dataset[5].boxes, other[5].boxes)


def test_workers_change_nothing(folder):
    dataset = PretrainDataset(folder, pipeline=PIPELINE)
    alone = load(dataset)
    assert len(alone) == 3 and alone[0].images[0].shape == (4, 32, 32, 3)
    for workers in (1, 3):
        assert all_same(alone, load(dataset, workers))
    assert not all_same(alone, load(dataset, epoch=1))
    assert all_same(load(dataset, epoch=1), load(dataset, 2, epoch=1))


def test_resume_in_mid_epoch_gives_the_rest(folder):
    dataset = PretrainDataset(folder, pipeline=PIPELINE)
    assert all_same(load(dataset, epoch=2)[1:], load(dataset, 2, epoch=2, start=4))


def tar_dataset(folder):
    for shard in range(3):
        with tarfile.open(folder / f's{shard}.tar', 'w') as tar:
            for i in range(shard * 4, shard * 4 + 4):
                tar.add(folder / f'{i:02d}.jpg', f'{i:02d}.jpg')
    source = {'type': 'TarShards', 'shuffle_window': 6}
    return PretrainDataset(folder, source=source, pipeline=PIPELINE)


def test_spawned_persistent_workers_repeat_epochs(folder):
    dataset = tar_dataset(folder)
    sampler = PretrainSampler(dataset, seed=1)
    loader = DataLoader(
        dataset,
        4,
        sampler=sampler,
        num_workers=2,
        collate_fn=collate_views,
        persistent_workers=True,
        multiprocessing_context='spawn',
    )
    for epoch in (0, 1, 0):
        sampler.set_epoch(epoch)
        assert all_same([b['inputs'] for b in loader], load(dataset, epoch=epoch))


def test_tar_gives_the_views_of_the_folder(folder):
    files, shards = PretrainDataset(folder, pipeline=PIPELINE), tar_dataset(folder)
    for i in range(12):
        assert all(map(torch.equal, files[i].images, shards[i].images))
    assert shards[0].path == str(folder / 's0.tar/00.jpg')
    shards[0]  # files are open when the workers are forked
    assert all_same(load(shards), load(shards, 3))


def test_max_images_are_spread_evenly(folder):
    dataset = PretrainDataset(folder, max_images=5)
    assert [dataset[i]['path'][-6:-4] for i in range(5)] == ['00', '02', '04', '07', '09']
    assert len(dataset) == 5 and dataset[4]['index'] == 4
    assert len(PretrainDataset(folder, max_images=100)) == 12
    with pytest.raises(ValueError, match='max_images must be at least 1, got 0'):
        PretrainDataset(folder, max_images=0)


def test_max_images_of_shards(folder):
    whole = tar_dataset(folder)
    dataset = PretrainDataset(folder, {'type': 'TarShards'}, PIPELINE, max_images=5)
    assert whole.shard_starts.tolist() == [0, 4, 8, 12]
    assert dataset.shard_starts.tolist() == [0, 2, 4, 5]  # images 0 2 | 4 7 | 9
    order = [key.index for key in PretrainSampler(dataset)]
    assert sorted(order) == [0, 1, 2, 3, 4]


def test_reduced_decoding_keeps_the_original_size(tmp_path):
    photo(0, (800, 640)).save(tmp_path / 'a.jpg')
    results = PretrainDataset(tmp_path, decode_min_side=100)[0]
    assert results['image'].shape == (160, 200, 3) and results['source_size'] == (640, 800)
    small = PretrainDataset(tmp_path, pipeline=PIPELINE, decode_min_side=100)[0]
    full = PretrainDataset(tmp_path, pipeline=PIPELINE)[0]
    assert small.source_size == (640, 800)
    assert (small.boxes - full.boxes).abs().max() <= 4  # crops of whole pixels, here 4 x 4
    for a, b in zip(small.images, full.images, strict=True):
        assert (a.float() - b.float()).abs().mean() < 4


def test_high_depth_reaches_the_decoder(tmp_path):
    values = np.linspace(0, 4095, 48).reshape(6, 8).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / 'a.png')
    assert PretrainDataset(tmp_path)[0]['image'].max() == 16
    assert PretrainDataset(tmp_path, high_depth='stretch')[0]['image'].max() == 255


def break_files(folder, *numbers):
    for number in numbers:
        path = folder / f'{number:02d}.jpg'
        path.write_bytes(path.read_bytes()[:300])


@pytest.mark.parametrize('workers', [0, 2])
def test_unreadable_file_is_an_error_that_names_it(folder, workers):
    break_files(folder, 7)
    with pytest.raises(UnreadableImageError, match=r'07\.jpg'):
        load(PretrainDataset(folder, pipeline=PIPELINE), workers)


def test_skip_replaces_counts_and_reports(folder, monkeypatch):
    break_files(folder, 1, 7)
    said = []
    report = 'densecl.datasets.pretrain_dataset.print_log'
    monkeypatch.setattr(report, lambda text, *_: said.append(text))
    dataset = PretrainDataset(folder, pipeline=PIPELINE, on_error='skip', max_unreadable=1)
    first = [dataset[SampleKey(1, 7)] for _ in range(3)]
    assert len({s.path for s in first}) == 1 and first[0].path[-6:] != '07.jpg'
    assert first[0].path == str(folder / f'{first[0].index:02d}.jpg')
    replacements = {dataset[SampleKey(epoch, 7)].index for epoch in range(30)}
    assert len(replacements) > 5 and not replacements & {1, 7}
    assert dataset.unreadable == {'01.jpg': 'truncated', '07.jpg': 'truncated'}
    assert len(said) == 2 and '07.jpg' in said[0] and '(2 so far)' in said[1]
    other = PretrainDataset(folder, pipeline=PIPELINE, on_error='skip', max_unreadable=1)
    assert other.marks.load(dataset.marks.state()) and other.unreadable == dataset.unreadable
    assert not other.marks.load(dataset.marks.state()[1:])  # of other images


@pytest.mark.parametrize('context', ['fork', 'spawn'])
def test_skip_is_counted_over_workers_and_does_not_depend_on_them(folder, context):
    break_files(folder, 1, 4, 7)
    dataset = PretrainDataset(folder, pipeline=PIPELINE, on_error='skip', max_unreadable=1)
    parallel = load(dataset, 2, multiprocessing_context=context)
    assert list(dataset.unreadable) == ['01.jpg', '04.jpg', '07.jpg']
    fresh = PretrainDataset(folder, pipeline=PIPELINE, on_error='skip', max_unreadable=1)
    assert all_same(parallel, load(fresh))


def test_skip_gives_up_where_nothing_is_readable(folder):
    break_files(folder, *range(12))
    dataset = PretrainDataset(folder, on_error='skip', max_unreadable=1)
    with pytest.raises(UnreadableImageError, match=r'20 images in a row.*the last: .*\.jpg'):
        dataset[0]


def test_file_that_vanishes(folder):
    dataset = PretrainDataset(folder, on_error='skip', max_unreadable=1)
    (folder / '05.jpg').unlink()
    assert dataset[5]['index'] != 5 and dataset.unreadable == {'05.jpg': 'missing'}


def test_failing_transform_names_the_file(folder):
    def fail(results):
        raise KeyError('boxes')

    with pytest.raises(RuntimeError, match=r"function failed on .*02\.jpg: KeyError: 'boxes'"):
        PretrainDataset(folder, pipeline=[fail])[2]


def test_wrong_arguments(folder):
    with pytest.raises(ValueError, match="on_error must be 'raise' or 'skip', got 'skp'"):
        PretrainDataset(folder, on_error='skp')
    with pytest.raises(ValueError, match="high_depth must be 'range' or 'stretch', got '16'"):
        PretrainDataset(folder, high_depth='16')
    with pytest.raises(IndexError, match='index 12 is not within the 12 images'):
        PretrainDataset(folder)[12]


def test_grey_and_other_modes_make_one_batch(tmp_path):
    for i, mode in enumerate(['L', 'RGB', 'P', 'RGBA', '1', 'LA']):
        photo(i).convert(mode).save(tmp_path / f'{i}.png')
    buffer = io.BytesIO()
    photo(9).convert('CMYK').save(buffer, 'JPEG')
    (tmp_path / '6.jpg').write_bytes(buffer.getvalue())
    Image.fromarray(np.zeros((40, 50), np.uint16)).save(tmp_path / '7.tif')
    batches = load(PretrainDataset(tmp_path, pipeline=PIPELINE))
    assert [b.images[0].shape for b in batches] == [(4, 32, 32, 3)] * 2


@pytest.mark.parametrize('name', ['collate_views', 'densecl.collate_views'])
def test_loader_of_mmengine(folder, name):
    config = ConfigDict(
        batch_size=4,
        num_workers=2,
        persistent_workers=True,
        drop_last=True,
        collate_fn={'type': name},
        sampler={'type': 'PretrainSampler', 'shuffle': True},
        dataset={
            'type': 'PretrainDataset',
            'data_root': str(folder),
            'source': {'type': 'Folder'},
            'seed': 0,
            'on_error': 'raise',
            'pipeline': PIPELINE,
        },
    )
    with DefaultScope.overwrite_default_scope('densecl'):
        loader = Runner.build_dataloader(config, seed=7)
        short = Runner.build_dataloader(ConfigDict(config, num_batch_per_epoch=2), seed=7)
    assert loader.sampler.seed == 7 and len(loader) == 3 and len(short) == 2
    loader.sampler.set_epoch(1)
    first, again = [b['inputs'] for b in loader], [b['inputs'] for b in loader]
    assert all_same(first, again)
    assert sorted(p[-6:-4] for b in first for p in b.paths) == [f'{i:02d}' for i in range(12)]
    assert all(b['data_samples'] is None for b in short)


def test_collated_indices_and_sizes(folder):
    batch = collate_views([PretrainDataset(folder, pipeline=PIPELINE)[i] for i in (3, 1)])
    views = batch['inputs']
    assert views.indices.tolist() == [3, 1] and views.labels is None
    assert views.source_sizes.tolist() == [[40, 53], [40, 51]]
