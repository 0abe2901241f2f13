"""Real runs: what is known to collapse does, and the log says so; the methods themselves do not."""

import logging
from pathlib import Path

import cv2
import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from densecl.sample import sample_root

CONFIGS = Path(__file__).parents[2] / 'configs'
BACKBONE = dict(type='TorchvisionFeatures', arch='resnet18', nodes=['layer2'], _delete_=True)


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    """128 photos of the sample, small enough to be read in no time."""
    folder = tmp_path_factory.mktemp('photos')
    found = sorted((sample_root() / 'photos').rglob('*.jpg'))
    for number in range(128):
        image = cv2.imread(str(found[number * len(found) // 128]))
        cv2.imwrite(str(folder / f'{number:03}.jpg'), cv2.resize(image, (64, 64)))
    return folder


def build(method: str, photos: Path, work_dir: Path, changes: dict) -> Runner:
    """40 steps of the method's small recipe, on half a ResNet-18 at 32 px."""
    cfg = Config.fromfile(CONFIGS / method / f'{method}_resnet18_1xb64-coslr-6e_photos.py')
    for view in cfg.train_dataloader.dataset.pipeline[0].views:
        view.size = 32
    widths = cfg.model.heads.image.projector.channels[1:]
    cfg.merge_from_dict(
        {
            'work_dir': str(work_dir),
            'experiment_name': f'{work_dir.name}_{method}',
            'model.backbone': BACKBONE,
            'model.heads.image.projector.channels': (128, *widths),
            'train_dataloader.batch_size': 32,
            'train_dataloader.num_workers': 0,
            'train_dataloader.persistent_workers': False,
            'train_dataloader.dataset.data_root': str(photos),
            'train_cfg.max_epochs': 10,
            'param_scheduler': [],
            'default_hooks.checkpoint': None,
            'default_hooks.collapse.interval': 2,
            'default_hooks.collapse.samples': 128,
            'launcher': 'none',
            **changes,
        }
    )
    cfg.pop('sync_bn')
    return Runner.from_cfg(cfg)


class Messages(logging.Handler):
    """Keeps the warnings about collapse."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.found = []

    def emit(self, record: logging.LogRecord) -> None:
        if 'collapsing' in record.getMessage():
            self.found.append(record.getMessage())


SIMSIAM = {'optim_wrapper.optimizer.lr': 0.6}
BYOL = {'optim_wrapper.optimizer.lr': 0.2}


@pytest.mark.slow
@pytest.mark.parametrize(
    ('method', 'changes', 'collapses'),
    [
        ('simsiam', SIMSIAM, False),
        ('simsiam', {**SIMSIAM, 'model.heads.image.stop_gradient': False}, True),
        ('byol', BYOL, False),
        ('byol', {**BYOL, 'model.heads.image.predictor': None}, True),
    ],
    ids=['simsiam', 'simsiam-without-stop-gradient', 'byol', 'byol-without-predictor'],
)
def test_collapse_is_reported_and_health_is_not(photos, tmp_path, method, changes, collapses):
    runner = build(method, photos, tmp_path, changes)
    messages = Messages()
    runner.logger.addHandler(messages)
    runner.train()
    rank = runner.message_hub.get_scalar('train/image_rank').current()
    assert bool(messages.found) == collapses, messages.found
    assert (rank < 12) == collapses
    if collapses:
        assert 'head image is collapsing' in messages.found[0]
