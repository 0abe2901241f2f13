"""Does the alarm ring where a method collapses, and only there? Short real runs, both ways, and a table.

    python benchmarks/collapse_alarms.py                 # all; some seconds a run on one core
    python benchmarks/collapse_alarms.py byol dino       # some

A method's small recipe trains half a ResNet-18 on 128 photos of the sample, of 32 px. Once as it is, and once
without what keeps it from collapse.
"""

import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

import densecl.compat

densecl.compat.install()

import cv2  # noqa: E402
import torch  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.runner import Runner  # noqa: E402

import densecl.registry  # noqa: E402, F401
from densecl.compat.packages import config_root  # noqa: E402
from densecl.engine import launch  # noqa: E402
from densecl.sample import sample_root  # noqa: E402

BACKBONE = dict(type='TorchvisionFeatures', arch='resnet18', nodes=['layer2'], _delete_=True)
HEAD = 'model.heads.image.'
LR = 'optim_wrapper.optimizer.lr'
#: Method (and a word that tells two cases apart) -> what both runs have; what makes it collapse, in words and
#: in settings.
CASES: dict[str, tuple[dict, str, dict]] = {
    'simsiam': ({LR: 0.6}, 'no stop-gradient', {HEAD + 'stop_gradient': False}),
    'byol': ({LR: 0.2}, 'no predictor', {HEAD + 'predictor': None}),
    'barlow_twins': ({}, 'redundancy weight 0', {HEAD + 'objective.redundancy_weight': 0.0}),
    'vicreg': (
        {},
        'neither variance nor covariance',
        {HEAD + 'objective.variance': 0.0, HEAD + 'objective.covariance': 0.0},
    ),
    'vicreg fast': ({}, 'rate 0.01', {LR: 0.01}),
    'dino': ({}, 'no centring', {HEAD + 'objective.center_momentum': 1.0}),
    'swav': ({}, 'codes of epsilon 5, which Sinkhorn leaves alike', {HEAD + 'objective.epsilon': 5.0}),
    'mocov2': ({}, 'rate 20', {LR: 20.0}),
    'simclr': ({}, 'rate 20', {LR: 20.0}),
    'densecl': ({}, 'rate 20', {LR: 20.0}),
    'pixpro': ({LR: 0.2}, 'no predictor', {'model.heads.pixel.predictor': None}),
}


def make_photos(folder: Path, count: int = 128) -> Path:
    """Photos of the sample, small enough to be read in no time."""
    found = sorted((sample_root() / 'photos').rglob('*.jpg'))
    for number in range(count):
        image = cv2.imread(str(found[number * len(found) // count]))
        cv2.imwrite(str(folder / f'{number:03}.jpg'), cv2.resize(image, (64, 64)))
    return folder


def build(method: str, photos: Path, work_dir: Path, changes: dict[str, Any], epochs: int = 10) -> Runner:
    """Four steps an epoch of the method's small recipe, 32 images each."""
    method = method.split()[0]
    (path,) = (config_root() / method).glob(f'{method}_resnet18_1xb64-*6e_photos.py')
    cfg = Config.fromfile(path)
    for view in cfg.train_dataloader.dataset.pipeline[0].views:
        view.size = 32 if view.size == 96 else 24
    for head in cfg.model.heads.values():
        head.projector.channels = (128, *head.projector.channels[1:])
        if head.objective.get('queue') if isinstance(head.objective, dict) else False:
            head.objective.queue = 64
    cfg.merge_from_dict(
        {
            'work_dir': str(work_dir),
            'experiment_name': f'{work_dir.name}_{method}_{len(changes)}',
            'model.backbone': BACKBONE,
            'train_dataloader.batch_size': 32,
            'train_dataloader.num_workers': 0,
            'train_dataloader.persistent_workers': False,
            'train_dataloader.dataset.data_root': str(photos),
            'train_cfg.max_epochs': epochs,
            'param_scheduler': [],
            'default_hooks.checkpoint.interval': 1000,
            'default_hooks.collapse.interval': 2,
            'default_hooks.collapse.samples': 128,
            'log_level': 'WARNING',
            'launcher': 'none',
            **changes,
        }
    )
    cfg.pop('sync_bn', None)
    return launch.build_runner(cfg)


class Alarms(logging.Handler):
    """The alarms of a run: iteration and text."""

    def __init__(self, runner: Runner) -> None:
        super().__init__(logging.WARNING)
        self.runner, self.found = runner, []
        runner.logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        if 'collapsing' in record.getMessage() or 'NaN' in record.getMessage():
            self.found.append((self.runner.iter + 1, record.getMessage()))


def row(method: str, why: str, runner: Runner) -> list[str]:
    """Train; a line of the table."""
    alarms = Alarms(runner)
    try:
        runner.train()
    except RuntimeError as error:
        alarms.found.append((runner.iter + 1, str(error)))
    scalars = runner.message_hub.log_scalars
    stds = [k for k in scalars if k.endswith('_std')]
    worst = min(stds, key=lambda k: scalars[k].current())
    std, rank = (scalars[k]._log_history for k in (worst, worst.replace('_std', '_rank')))
    first = str(alarms.found[0][0]) if alarms.found else '-'
    figures = (f'{x[-1]:.2f} ({x[len(x) // 4 :].min():.2f})' for x in (std, rank))
    return [method, why, *figures, first]


def main(words: list[str]) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder) / 'photos'
        photos.mkdir()
        make_photos(photos)
        print('| method | what it lacks | std: last (least) | rank: last (least) | first alarm |', flush=True)
        print('|---|---|---|---|---|')
        for method in words or CASES:
            both, why, broken = CASES[method]
            for text, changes in (('-', both), (why, {**both, **broken})):
                runner = build(method, photos, Path(folder) / f'{method}_{text == "-"}', changes)
                print('|', ' | '.join(row(method, text, runner)), '|', flush=True)


if __name__ == '__main__':
    main(sys.argv[1:])
