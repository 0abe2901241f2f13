"""DINOv3's recipe of ViT-L/16, and the stages that go on from it."""

import math
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from densecl.models.backbones.rotary import Rotary
from densecl.models.necks.prototypes import LinearPrototypes
from densecl.registry import MODELS
from densecl.schedule import Clock, Schedule

CONFIGS = Path(__file__).parents[2] / 'configs/dinov3'
OFFICIAL = 'dinov3_vit-large_32xb64-mcrop-coslr-200e_in1k'
GRAM = 'dinov3-gram_vit-large_32xb64-mcrop-constlr-40e_in1k'
HIGH = 'dinov3-highres_vit-large_32xb64-mcrop-coslr-6e_in1k'
SMALL = (
    'dinov3_vit-slim_1xb64-mcrop-constlr-8e_photos',
    'dinov3-gram_vit-slim_1xb64-mcrop-constlr-2e_photos',
    'dinov3-highres_vit-slim_1xb64-mcrop-coslr-1e_photos',
)


def read(name):
    return Config.fromfile(CONFIGS / f'{name}.py')


def test_heads_of_their_own_and_plain_prototypes():
    with torch.device('meta'):
        model = MODELS.build(dict(read(OFFICIAL).model, _scope_='densecl'))
    for name in ('image', 'patches'):
        head = model.heads[name]
        assert isinstance(head.projector.prototypes, LinearPrototypes)
        assert head.projector.prototypes.weight.shape == (65536, 256)
        model.clock.step = 1249
        assert set(head.frozen_parameters()) == set(head.projector.prototypes.parameters())
        model.clock.step = 1250
        assert not head.frozen_parameters()
    backbone = model.backbone
    assert isinstance(backbone.rope, Rotary) and backbone.rope.rescale is None and backbone.pos_embed is None
    # ViT-L/16 of 303.1 M with four tokens less, but biases of query and value, and the mask's token
    count = sum(p.numel() for p in backbone.parameters())
    assert count == 303_079_424 - 4 * 1024 + 24 * 2 * 1024 + 1024


@pytest.mark.parametrize(
    'name, local', [(OFFICIAL, 1), (GRAM, 0.5), (HIGH, 0.5), (SMALL[0], 1), (SMALL[2], 0.5)]
)
def test_weights_of_pairs(name, local):
    """1 / 18 a pair of the 10 crops' classes; in the later stages a local crop's counts half."""
    heads = read(name).model.heads
    crops = 10 if 'large' in name else 4
    pairs = {(p['query'], p['key']): p['weight'] for p in heads.image.pairs}
    assert set(pairs) == {(q, k) for q in range(crops) for k in range(2) if q != k}
    for (query, _), weight in pairs.items():
        assert weight == pytest.approx((local if query > 1 else 1) / (2 * (crops - 1)))
    assert [p['weight'] for p in heads.patches.pairs] == [0.5, 0.5]


@pytest.mark.parametrize('name', [OFFICIAL, HIGH, SMALL[0], SMALL[2]])
def test_masks_are_exact_and_at_the_upper_edges(name):
    views = read(name).train_dataloader.dataset.pipeline[0].views
    for view in views[:2]:
        law = view.mask
        assert law.exact and law.ratio.in_bin == 'upper' and list(law.ratio.ratio) == [0.1, 0.5]
        assert law.max_area == (view.size // law.patch) ** 2 / 2
    assert not any('mask' in view for view in views[2:])


def test_the_stages_are_of_one_model_and_go_on_with_its_teacher():
    first, gram, high = (read(name) for name in (OFFICIAL, GRAM, HIGH))
    assert first.model.backbone == gram.model.backbone == high.model.backbone
    for cfg in (gram, high):
        assert cfg.model.keep_target and cfg.model.momentum == dict(start=0.999)
        assert [s.param_name for s in cfg.param_scheduler] == ['lr'], 'weight decay stays'
        assert cfg.model.heads.image.objective.teacher_temperature == dict(start=0.07)
    assert [v.size for v in gram.train_dataloader.dataset.pipeline[0].views] == [224, 224, 96, 448, 448]
    assert [v.size for v in high.train_dataloader.dataset.pipeline[0].views] == [512, 512, 112, 768, 768]
    assert gram.model.heads.gram.units.grid == 14 and high.model.heads.gram.units.grid == 32
    assert gram.model.heads.gram.loss_weight == 2.0 and high.model.heads.gram.loss_weight == 1.5
    scale = 4 * math.sqrt(2)
    assert gram.optim_wrapper.optimizer.lr == pytest.approx(3e-5 * scale, rel=2e-3)
    assert high.optim_wrapper.optimizer.lr == pytest.approx(1.25e-5 * scale, rel=2e-3)
    rate = Schedule.of(dict(high.param_scheduler[0].factor), 'factor')
    values = [rate(Clock(step=s, total=600, epoch=100)) for s in (0, 100, 200, 500)]
    assert values == pytest.approx([0, 0.5, 1, 1])
