"""Does the alarm ring where a method collapses, and only there? Real runs, both ways, and a table.

    python benchmarks/collapse_alarms.py                 # all; half a minute a method on one free core
    python benchmarks/collapse_alarms.py byol dino       # some

A method's small recipe trains the first half of a ResNet-18 of half the width on 128 photos of the sample,
of 32 px: once without what keeps it from collapse, until the alarm of ``CollapseHook`` ends it, and once as
it is, for 200 steps. The command fails where a broken run is not ended within its stated number of steps, or
a healthy one is ended.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import torch
from mmengine.config import Config
from mmengine.runner import Runner

import densecl.registry  # noqa: F401
from densecl.compat.packages import config_root
from densecl.datasets.subset import evenly
from densecl.engine import launch
from densecl.sample import sample_root

BACKBONE = dict(
    type='mmdet.ResNet',
    depth=18,
    base_channels=32,
    num_stages=2,
    strides=(1, 2),
    dilations=(1, 1),
    out_indices=(1,),
    _delete_=True,
)
CHANNELS = 64  # that it returns
BATCH, PHOTOS, STEPS = 32, 128, 200
HEAD = 'model.heads.image.'
LR = 'optim_wrapper.optimizer.lr'
COSINE = {HEAD + 'objective': dict(type='Cosine', _delete_=True)}


class Case(NamedTuple):
    """A method's settings in both runs; what the broken one has besides, in words and in settings; and the
    steps within which the alarm must ring.
    """

    both: dict[str, Any]
    lacks: str
    broken: dict[str, Any]
    within: int


CASES = {
    'simsiam': Case({LR: 0.6}, 'no stop-gradient', {HEAD + 'stop_gradient': False}, 100),
    'byol': Case({LR: 0.2}, 'no predictor', {HEAD + 'predictor': None}, 60),
    'mocov2': Case(
        {LR: 0.2}, 'neither negatives nor last norm', {**COSINE, HEAD + 'projector.last_norm': False}, 60
    ),
    'simclr': Case({}, 'no negatives, a rate of 0.6, ten times the recipe', {**COSINE, LR: 0.6}, 60),
    'densecl': Case({}, 'a rate of 20', {LR: 20.0}, 100),
    'pixpro': Case(
        {LR: 0.2},
        'neither predictor nor last norm',
        {'model.heads.pixel.predictor': None, 'model.heads.pixel.projector.last_norm': False},
        100,
    ),
    'vicreg': Case({}, 'a rate of 0.01, ten times the recipe', {LR: 0.01}, 60),
    'dino': Case({}, 'a teacher of temperature 2', {HEAD + 'objective.teacher_temperature': 2.0}, 20),
    'swav': Case({}, 'codes of epsilon 5', {HEAD + 'objective.epsilon': 5.0}, 20),
    'slotcon': Case(
        {}, 'a teacher of temperature 2', {'model.heads.slots.objective.cells.teacher_temperature': 2.0}, 20
    ),
}


def make_photos(folder: Path, count: int = PHOTOS) -> Path:
    """Photos of the sample, small enough to be read in no time."""
    folder.mkdir(exist_ok=True)
    found = sorted((sample_root() / 'photos').rglob('*.jpg'))
    for number, place in enumerate(evenly(len(found), count)):
        image = cv2.imread(str(found[place]))
        cv2.imwrite(str(folder / f'{number:03}.jpg'), cv2.resize(image, (64, 64)))
    return folder


def build(method: str, photos: Path, work_dir: Path, changes: dict[str, Any], steps: int = STEPS) -> Runner:
    """The method's small recipe, of small views; it ends where the alarm rings."""
    (path,) = (config_root() / method).glob(f'{method}_resnet18_1xb64-*6e_photos.py')
    cfg = Config.fromfile(path)
    views = cfg.train_dataloader.dataset.pipeline[0].views
    largest = max(view.size for view in views)
    for view in views:
        view.size = 32 if view.size == largest else 24
    for head in cfg.model.heads.values():
        head.projector.channels = (CHANNELS, *head.projector.channels[1:])
        if 'queue' in head.objective and head.objective.queue:
            head.objective.queue = 2 * BATCH
    cfg.merge_from_dict(
        {
            'work_dir': str(work_dir),
            'experiment_name': f'{work_dir.name}_{method}',
            'model.backbone': BACKBONE,
            'train_dataloader.batch_size': BATCH,
            'train_dataloader.num_workers': 0,
            'train_dataloader.persistent_workers': False,
            'train_dataloader.dataset.data_root': str(photos),
            'train_cfg.max_epochs': steps * BATCH // PHOTOS,
            'param_scheduler': [],
            'default_hooks.checkpoint': None,
            'default_hooks.collapse': dict(interval=2, samples=PHOTOS, action='stop'),
            'log_level': 'ERROR',
            'launcher': 'none',
            **changes,
        }
    )
    cfg.pop('sync_bn', None)
    return launch.build_runner(cfg)


def train(runner: Runner) -> int | None:
    """Train; the step at which the alarm ended it."""
    try:
        runner.train()
    except RuntimeError as error:
        if 'collapsing' not in str(error):
            raise
        return runner.iter + 1
    return None


def figures(runner: Runner) -> list[str]:
    """What was judged and came lowest: its name, the highest, the lowest after that, std and rank at last."""
    logs = {name.removeprefix('train/'): log for name, log in runner.message_hub.log_scalars.items()}
    judged = [f'{name}_vendi' for name in runner.model.may_collapse()]
    judged += [name for name in logs if '_groups' in name]
    found = []
    for name in judged:
        values, _ = logs[name].data
        found.append((values[values.argmax() :].min(), values.max(), name))
    least, most, name = min(found)
    unit = name.removesuffix('_vendi').partition('_groups')[0]
    unit = unit if f'{unit}_std' in logs else f'{unit}_cells'  # SlotCon's
    last = [f'{logs[f"{unit}_{what}"].current():.2f}' for what in ('std', 'rank')]
    return [name, f'{most:.1f}', f'{least:.2f}', *last]


def main(words: list[str]) -> int:
    """Print the table; 1 where an alarm rang that should not, or did not that should."""
    torch.set_num_threads(1)
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        photos = make_photos(Path(folder) / 'photos')
        print('| method | run | judged | most | least after | std | rank | alarm | |', flush=True)
        print('|---' * 9 + '|')
        for method in words or CASES:
            case = CASES[method]
            for healthy in (False, True):
                changes = case.both if healthy else {**case.both, **case.broken}
                runner = build(method, photos, Path(folder) / f'{method}_{healthy}', changes)
                rang = train(runner)
                right = rang is None if healthy else rang is not None and rang <= case.within
                wrong += not right
                cells = [method, 'as it is' if healthy else case.lacks, *figures(runner)]
                cells += [f'step {rang}' if rang else f'none in {runner.iter}', '' if right else '**wrong**']
                print('|', ' | '.join(cells), '|', flush=True)
    return int(wrong > 0)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
