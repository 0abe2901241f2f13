"""Every pretraining config of the tree builds and takes a step on real photos."""

from pathlib import Path

import cv2
import pytest
import torch
from mmengine.config import Config

from densecl.datasets.text import train_tokenizer
from densecl.engine.launch import build_runner
from densecl.registry import MODELS
from densecl.sample import sample_root

CONFIGS = Path(__file__).parents[2] / 'configs'
# Kept small: lengths of queues and banks, and widths that no backbone has. test_official_heads.py looks
# at the heads in their own size.
SMALL = dict(queue=16, images=64)
WIDE = 2500


def pretraining() -> dict[Path, Config]:
    paths = sorted(p for p in CONFIGS.rglob('*.py') if '_base_' not in p.parts)
    configs = {p: Config.fromfile(p) for p in paths if p.parent.name not in ('detection', 'segmentation')}
    configs = {path: cfg for path, cfg in configs.items() if 'PretrainLoop' in cfg.train_cfg.type}
    # Texts alone: test_simcse_configs.py
    return {p: cfg for p, cfg in configs.items() if cfg.train_dataloader.dataset.type != 'TextDataset'}


PATHS = pretraining()


def other_steps(configs: dict[Path, Config]) -> list[Path]:
    """Without those that differ from an earlier one in length and data alone."""
    first: dict[str, Path] = {}
    for path, cfg in configs.items():
        step = cfg.model, cfg.train_dataloader.dataset.pipeline, cfg.optim_wrapper, cfg.get('custom_hooks')
        first.setdefault(str(step), path)
    return list(first.values())


METHODS = {
    'barlow_twins', 'byol', 'clop', 'densecl', 'detco', 'detcon', 'dino', 'directclr', 'mocov1', 'mocov2',
    'mocov3', 'npid', 'pirl', 'pixcontrast', 'pixpro', 'quickstart', 'resim', 'scrl', 'setsim', 'simclr',
    'simsiam', 'sincere', 'slotcon', 'soco', 'supcon', 'swav', 'vicreg', 'vicregl',
}  # fmt: skip


def test_all_methods_are_here():
    assert {p.parent.name for p in PATHS} >= METHODS


def shrink(node) -> None:
    """Shorten every queue and bank of a model config, narrow every wide layer and set of prototypes."""
    if isinstance(node, list | tuple):
        for value in node:
            shrink(value)
    elif isinstance(node, dict):
        for key, value in node.items():
            if isinstance(node.get('target'), dict) and key in ('projector', 'target'):
                continue  # as wide as what is predicted
            if key in SMALL and isinstance(value, int) and value > SMALL[key]:
                node[key] = SMALL[key]
            elif key in ('channels', 'prototypes', 'dim', 'local_hidden') and value:
                wide = value if isinstance(value, list | tuple) else [value]
                narrow = [256 if isinstance(x, int) and x > WIDE else x for x in wide]
                node[key] = tuple(narrow) if wide is value else narrow[0]
            else:
                shrink(value)


def shorten(model) -> None:
    """Two blocks of a large transformer: its width tells whether a config fits, their number does not."""
    if not any(size in model.backbone.get('arch', '') for size in ('base', 'large')):
        return
    parts = [model.backbone, *(head.get('projector') or {} for head in model.heads.values())]
    for part in parts:
        if part.get('type') == 'TimmViT' or 'depth' in part and 'embed_dim' in part:
            part.depth = 2
        if 'class_path' in part:
            part.class_path = (1, 1)


@pytest.fixture(scope='module')
def photos(tmp_path_factory) -> Path:
    """Four photos of each of two classes, small enough to be read and segmented in no time."""
    root = tmp_path_factory.mktemp('photos')
    for folder in sorted(p for p in (sample_root() / 'photos').iterdir() if p.is_dir()):
        (root / folder.name).mkdir()
        for photo in sorted(folder.iterdir())[:4]:
            image = cv2.resize(cv2.imread(str(photo)), (128, 96), interpolation=cv2.INTER_AREA)
            cv2.imwrite(str(root / folder.name / f'{photo.stem}.png'), image)
    return root


def write_captions(photos: Path, dataset: Config) -> None:
    """A caption beside each photo, and a tokenizer for these."""
    texts = {path: f'a photo of {path.parent.name}' for path in photos.glob('*/*.png')}
    for path, text in texts.items():
        path.with_suffix('.txt').write_text(text)
    dataset.captions.tokenizer.path = str(photos / 'tokenizer.json')
    train_tokenizer(texts.values(), 600, dataset.captions.tokenizer.path)
    dataset.source = dict(type='Folder', captions='txt')


@pytest.mark.parametrize('path', PATHS, ids=lambda p: p.stem)
def test_schedules_follow_another_length_of_the_run(path):
    """``train_cfg.max_epochs=...`` is enough: no schedule of the rate has the recipe's own length in it."""
    cfg = PATHS[path]
    ends = [s.get('end', 0) for s in cfg.param_scheduler if s.get('by_epoch', True)]
    assert max(ends, default=0) < cfg.train_cfg.max_epochs
    assert not any('T_max' in s for s in cfg.param_scheduler)


@pytest.mark.parametrize('path', other_steps(PATHS), ids=lambda p: p.stem)
def test_config_takes_a_step(path, photos, tmp_path):
    cfg = Config.fromfile(path)
    shrink(cfg.model)
    shorten(cfg.model)
    cfg.update(work_dir=str(tmp_path), launcher='none')
    several = 2 * max(cfg.model.get('bn_groups', 1), 2)  # images of each group of batch statistics
    cfg.train_dataloader.update(batch_size=several, num_workers=0, persistent_workers=False, pin_memory=False)
    dataset = cfg.train_dataloader.dataset
    dataset.data_root = str(photos)
    if 'proposals' in dataset:  # whoever names them: boxes and masks on the spot, no store
        dataset.proposals = dict(type='Felzenszwalb')
    if 'captions' in dataset:
        write_captions(photos, dataset)
    fixed = 'BottleneckDecoder' in str(cfg.model.heads)  # of one size
    for transform in dataset.pipeline:
        for selector in transform.get('regions', {}).values():
            if selector.type == 'SelectBoxes':
                selector.count = min(selector.get('count', 4), 4)
            if 'grid' in selector:
                selector.grid = 2  # of C5, at the sizes below
            if selector.type == 'LargestMasks' and cfg.model.backbone.type != 'mmdet.ResNet':
                # on the cells of a stride of 16 or 14
                selector.grid = 5 if 'patch14' in cfg.model.backbone.get('arch', '') else 4
        for view in transform.views:
            if 'size' in view and not fixed:
                view.size = 64 if view.size > 112 else 32
                if 'mask' in view:
                    view.size -= view.size % view.mask.patch
            if 'count' in (view.get('mask') or {}):
                view.mask.count = 4
    for head in cfg.model.heads.values():
        if isinstance(head.get('units'), dict) and 'count' in head.units:
            head.units.count = 6  # of two views of 2 x 2 cells and more
        if isinstance(head.get('target'), dict) and {'file', 'start'} & head.target.keys():
            head.target.pop('start', None)
            head.target.file = str(tmp_path / 'tokens.pth')
            target = MODELS.build(head.target)
            torch.save(dict(state_dict=target.state_dict()), head.target.file)
    if 'keep_target' in cfg.model:
        cfg.model.keep_target = False  # there is no run to go on from
    if 'heads_first' in cfg.model:
        cfg.model.heads_first = 0  # the backbone is looked at below
    cfg.train_cfg.max_epochs = 1
    cfg.default_hooks.checkpoint = None  # 27 GB in all
    cfg.experiment_name = path.stem  # mmengine allows a name once in a process
    runner = build_runner(cfg)
    before = {n: p.clone() for n, p in runner.model.backbone.named_parameters() if p.requires_grad}
    schedules, runner.param_schedulers = runner.param_schedulers, []
    runner.train()  # at the full rate: a warm-up would start from 0 and show nothing
    assert runner.build_param_scheduler(schedules)
    logged = runner.message_hub.log_scalars
    assert torch.isfinite(torch.tensor(logged['train/loss'].current()))
    assert {f'train/loss_{name}' for name in cfg.model.heads} <= set(logged)
    after = dict(runner.model.backbone.named_parameters())
    still = [n for n, p in before.items() if torch.equal(p.to(after[n].device), after[n])]
    backbone = cfg.model.backbone  # a zero scale, timm's own choice, passes no gradient to its branch
    if backbone.get('zero_init_residual', backbone.get('model_name', '').startswith('resnet')):
        still = [n for n in still if 'layer' not in n and 'stages' not in n]
    assert still == []
