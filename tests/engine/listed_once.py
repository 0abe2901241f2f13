"""Run by test_shared_source.py: trainings whose images are listed by process 0."""

import json
import os
import shutil
import tarfile
import tempfile
import time
from pathlib import Path

import torch
import torch.distributed as dist
from mmengine.hooks import Hook
from mmengine.model import BaseModel

from densecl.datasets import PretrainDataset, PretrainSampler
from densecl.datasets.sources import Folder
from densecl.distributed import rank
from densecl.engine import LRScalingRunner, shared_source
from densecl.sample import sample_root

LISTED = []


def count_listings() -> None:
    """Note every folder that this process lists."""
    for name in ('scandir', 'listdir'):
        original = getattr(os, name)

        def noted(path='.', original=original):
            LISTED.append(str(path))
            return original(path)

        setattr(os, name, noted)


def place(result: dict) -> dict:
    """The last transform: what the model is given."""
    return dict(inputs=torch.ones(1), path=result['path'])


class Toy(BaseModel):
    """Notes the photos that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.seen = []

    def forward(self, inputs, path, mode='loss'):
        self.seen += path
        return dict(loss=self.layer(torch.stack(inputs)).mean())


class EvaluateInProcess0(Hook):
    """Reads the photos once more, in one process alone."""

    def before_train(self, runner) -> None:
        if rank() == 0:
            runner.photos = len(PretrainDataset(runner.cfg.train_dataloader.dataset.data_root))


def make_runner(root: Path, **dataset) -> LRScalingRunner:
    """One epoch of the photos below a folder, in batches of 2."""
    data = dict(type='PretrainDataset', data_root=str(root), pipeline=[place], **dataset)
    return LRScalingRunner(
        model=Toy(),
        work_dir=tempfile.mkdtemp(),
        experiment_name=f'{root.name}-{len(LISTED)}',
        train_dataloader=dict(dataset=data, batch_size=2, sampler=dict(type='PretrainSampler')),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.0)),
        randomness=dict(seed=5),
        default_hooks=dict(checkpoint=None),
        custom_hooks=[EvaluateInProcess0()],
        default_scope='densecl',
        log_level='WARNING',
        cfg=dict(train_dataloader=dict(dataset=dict(data_root=str(root)))),
    )


def shared_folder() -> Path:
    """A folder with 13 photos, a list, a json and tars of them, that all processes see."""
    words = [tempfile.mkdtemp()]
    dist.broadcast_object_list(words)
    root = Path(words[0])
    if rank() == 0:
        photos = sorted((sample_root() / 'photos').rglob('*.jpg'))[:13]
        for i, photo in enumerate(photos):
            (root / f'photos/{i % 3}').mkdir(parents=True, exist_ok=True)
            shutil.copy(photo, root / f'photos/{i % 3}/{chr(120 - i)}é.jpg')
        names = [str(path.relative_to(root)) for path in sorted((root / 'photos').rglob('*.jpg'))]
        (root / 'list.txt').write_text('\n'.join(f'{name} {i}' for i, name in enumerate(names)))
        (root / 'coco.json').write_text(json.dumps({'images': [{'file_name': name} for name in names]}))
        (root / 'empty').mkdir()
        for i in range(2):
            with tarfile.open(root / f'{i}.tar', 'w') as tar:
                for name in names[i::2]:
                    tar.add(root / name, name)
    dist.barrier()
    return root


def message(call, *args, **kwargs) -> str:
    """Kind and words of the error that a call ends with."""
    try:
        call(*args, **kwargs)
    except Exception as error:
        return f'{type(error).__name__}: {error}'
    return ''


def loads(source) -> list:
    """All that a source says of its images."""
    return [(*source.load(i), source.image_id(i), source.label(i)) for i in range(len(source))]


def train(root: Path) -> dict:
    """What a training lists and sees, and what it should see."""
    LISTED.clear()
    runner = make_runner(root / 'photos')
    runner.train()
    listed = [path for path in LISTED if path.startswith(str(root))]
    own = PretrainDataset(root / 'photos')
    shared = runner.train_dataloader.dataset.source
    return dict(
        listed=len(listed),
        seen=runner.model.seen,
        expected=[own.load(key.index)[1] for key in PretrainSampler(own, seed=5)],
        equal=loads(shared) == loads(own.source),
        buffers=bool((shared._paths.buffer == own.source._paths.buffer).all()),
        photos=getattr(runner, 'photos', None),
    )


def other_sources(root: Path) -> dict:
    """Whether each source arrives as this process makes it, and what the process listed or read for it."""
    found = {}
    configs = dict(
        ImageNet=dict(data_root=str(root / 'photos')),
        ListFile=dict(list_file='list.txt'),
        Coco=dict(ann_file='coco.json'),
        TarShards=dict(),
    )
    for kind, config in configs.items():
        source = dict(type=kind, **config)
        dataset = dict(type='PretrainDataset', data_root=source.pop('data_root', str(root)), source=source)
        LISTED.clear()
        shared = shared_source.with_shared_source(dict(dataset=dataset))['dataset']
        listed = len([path for path in LISTED if path.startswith(str(root))])
        own = PretrainDataset(**{k: v for k, v in dataset.items() if k != 'type'}).source
        found[kind] = dict(listed=listed, equal=loads(shared['source']) == loads(own), images=len(own))
        found[kind]['starts'] = own.shard_starts is None or bool(
            (shared['source'].shard_starts == own.shard_starts).all()
        )
    return found


def slow() -> dict:
    """Something that takes longer than a beat, sent in many pieces."""
    shared_source.BEAT, shared_source.CHUNK = 0.02, 1000
    try:
        made = shared_source.made_by_process_0(lambda: (time.sleep(0.2), torch.arange(999).numpy())[1])
    finally:
        shared_source.BEAT, shared_source.CHUNK = 30.0, 2**26
    return dict(sum=int(made.sum()), size=made.size)


def elsewhere(root: Path) -> str:
    """The paths are relative, and process 2 has another working directory, without the photos."""
    before = os.getcwd()
    os.chdir(root / 'empty' if rank() == 2 else root)
    found = message(make_runner(Path('photos')).train)
    os.chdir(before)
    return found


def everything() -> dict:
    count_listings()
    root = shared_folder()
    return dict(
        train=train(root),
        others=other_sources(root),
        slow=slow(),
        empty=message(make_runner(root / 'empty').train),
        no_json=message(make_runner(root, source=dict(type='Coco', ann_file='other.json')).train),
        elsewhere=elsewhere(root),
        alone=len(Folder(root / 'photos')) if rank() == 1 else None,
    )
