"""The configs of vision transformers: an exported ViT goes into UPerNet and Mask R-CNN, and trains."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import nn

from densecl.engine.launch import use_plain_batch_norm, use_pretrained
from densecl.registry import MODELS
from densecl.transfer import export_backbone, feature_difference, load_backbone, save_export

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
UPERNET = 'segmentation/upernet_vit-small_ade20k.py'
PYRAMID = 'detection/mask-rcnn_vit-small_simple-pyramid_100e_coco.py'
VITDET = 'detection/mask-rcnn_vitdet-base-mae_100e_coco.py'
SLIM = {
    'mmseg': 'segmentation/upernet_vit-small-slim_sample.py',
    'mmdet': 'detection/mask-rcnn_vit-small-slim_simple-pyramid_sample.py',
}


def load(name):
    cfg = Config.fromfile(CONFIGS / name)
    init_default_scope(cfg.get('default_scope', 'densecl'))
    use_plain_batch_norm(cfg._cfg_dict)
    return cfg


def pretrained_vit(name):
    """(backbone of a pretraining config, what its checkpoint would hold)."""
    cfg = load(f'_base_/models/{name}.py')
    cfg.model.heads = dict(image=dict(objective='Cosine'))  # the record of a pretrainer
    vit = MODELS.build(cfg.model.backbone)
    tensors = {f'backbone.{k}': v for k, v in vit.state_dict().items()}
    return vit, dict(state_dict=tensors, meta=dict(cfg=cfg.pretty_text))


def test_pretraining_models():
    heads = {'vit-small': 6, 'vit-small_mocov3': 12, 'vit-small_slim': 3}
    for name, count in heads.items():
        vit, content = pretrained_vit(name)
        assert vit.num_heads == count == export_backbone(content, 'timm')['meta']['num_heads']
        sincos = not vit.pos_embed.requires_grad
        assert sincos == (name == 'vit-small_mocov3') == (not vit.patch_embed.proj.weight.requires_grad)
        drop = [m.drop_prob for m in vit.modules() if hasattr(m, 'drop_prob')]
        assert drop[-1:] == ([] if sincos else [pytest.approx(0.1)])
        assert load(f'_base_/models/{name}.py').model.data_preprocessor.mean == [123.675, 116.28, 103.53]
        assert [level.shape[1:] for level in vit(torch.randn(1, 3, 96, 96))] == [
            (vit.embed_dim, 6, 6), (vit.embed_dim, 1, 1),
        ]  # fmt: skip


@pytest.mark.parametrize('scope', SLIM)
def test_slim_model_starts_from_an_export_and_trains_on_the_sample(scope, tmp_path):
    vit, content = pretrained_vit('vit-small_slim')
    file = save_export(export_backbone(content, scope), tmp_path / 'vit.pth')
    cfg = load(SLIM[scope])
    use_pretrained(cfg, str(file))
    cfg.work_dir = str(tmp_path / 'run')
    cfg.train_cfg.max_iters, cfg.param_scheduler = 2, None  # its ramp is longer
    cfg.train_dataloader.update(batch_size=2, num_workers=0, persistent_workers=False)
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    tested = dict(cfg.test_dataloader, num_workers=0, persistent_workers=False)
    cfg.default_hooks.logger.interval = 1
    seen = {}

    def first_forward(module, inputs):
        if not seen:
            seen.update({k: v.detach().clone() for k, v in module.named_parameters()})

    runner = Runner.from_cfg(cfg)
    runner.model.backbone.register_forward_pre_hook(first_forward)
    runner.train()
    assert torch.equal(seen['patch_embed.projection.weight'], vit.patch_embed.proj.weight)
    trained = dict(runner.model.backbone.named_parameters())
    assert all(p.isfinite().all() and not torch.equal(seen[k], p) for k, p in trained.items())
    log = '\n'.join(p.read_text() for p in (tmp_path / 'run').rglob('*.log'))
    count = 54 if scope == 'mmdet' else 52  # UPerNet reads raw blocks, without the final norm
    assert f'{count} of {count} backbone tensors (100.0 %)' in log and 'pos_embed 6x6 ->' in log
    with torch.no_grad():
        runner.model.eval()
        result = runner.model.test_step(next(iter(Runner.build_dataloader(tested))))[0]
    if scope == 'mmseg':
        assert result.pred_sem_seg.data.shape[-2:] == result.ori_shape
    else:
        assert result.pred_instances.masks.shape[-2:] == result.ori_shape


@pytest.mark.parametrize('name', [UPERNET, PYRAMID])
def test_full_size_recipes_take_an_export(name):
    cfg = load(name)
    vit, content = pretrained_vit('vit-small')
    backbone = MODELS.build({**cfg.model.backbone, 'type': 'mmseg.VisionTransformer'})
    report = load_backbone(backbone, content)
    assert report.fraction == 1 and not report.warnings
    assert report.resized == f'pos_embed 14x14 -> {"32x32" if name == UPERNET else "64x64"}'
    twelve = pretrained_vit('vit-small_mocov3')[1]
    with pytest.raises(RuntimeError, match=r'set backbone\.num_heads=12'):
        load_backbone(backbone, twelve)
    processor = cfg.model.data_preprocessor
    assert processor.mean == [123.675, 116.28, 103.53] and processor.bgr_to_rgb is True
    assert cfg.model.get('pretrained') is None and 'init_cfg' not in cfg.model.backbone
    if name == PYRAMID:  # the features are those of pretraining, final norm included
        same = MODELS.build({**cfg.model.backbone, 'img_size': 224})
        load_backbone(same, content)
        assert feature_difference(vit, same, torch.randn(1, 3, 64, 64)) < 1e-4


@pytest.mark.parametrize('name', [PYRAMID, VITDET])
def test_mask_rcnn_of_full_size_takes_a_step(name):
    """Real widths, 64 x 96 pixels, few regions; blocks of one recomputed in the backward pass."""
    cfg = load(name)
    data = load(SLIM['mmdet']).train_dataloader
    data.update(batch_size=1, num_workers=0, persistent_workers=False)
    data.dataset.pipeline[2].scale = (96, 64)
    cfg.model.data_preprocessor.batch_augments = None
    cfg.model.train_cfg.rcnn.sampler.num = 8
    model = MODELS.build({**cfg.model, 'type': 'mmdet.MaskRCNN'}).train()
    batch = model.data_preprocessor(next(iter(Runner.build_dataloader(data, seed=0))), training=True)
    loss, _ = model.parse_losses(model(**batch, mode='loss'))
    loss.backward()
    assert torch.isfinite(loss)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.backbone.parameters())
    assert [type(m).__name__ for m in model.roi_head.mask_head.convs[0].children()][1] == 'LayerNorm2d'


def test_layer_wise_decay_and_decay_of_norms():
    """Block i of 12 learns 0.7^(12 - i) as fast as the heads; nothing decays norms and positions."""
    cfg = load(PYRAMID)
    model = MODELS.build({**cfg.model, 'type': 'mmdet.MaskRCNN'})
    groups = _groups(model, cfg)
    base, decay = 1e-4, 0.1
    for i in range(12):
        for name in (f'layers.{i}.attn.attn.in_proj_weight', f'layers.{i}.ln1.weight'):
            expected = (base * 0.7 ** (12 - i), 0 if 'ln' in name else decay)
            assert groups[f'backbone.{name}'] == pytest.approx(expected)
    assert groups['backbone.pos_embed'] == pytest.approx((base * 0.7**13, 0))
    assert groups['backbone.patch_embed.projection.weight'] == pytest.approx((base * 0.7**13, decay))
    assert groups['backbone.ln1.weight'] == pytest.approx((base, 0))
    assert groups['neck.stages.2.0.weight'] == pytest.approx((base, decay))
    assert groups['neck.stages.2.1.weight'] == pytest.approx((base, 0))
    assert (cfg.train_cfg.max_iters, cfg.train_dataloader.batch_size) == (184_375, 8)
    assert cfg.param_scheduler[1].milestones == [163_889, 177_546]


def test_vitdet_is_the_papers():
    """MAE's weights go in; block i of 12 has 0.7^(12 - i) of the rate, norms and positions no decay."""
    cfg = load(VITDET)
    backbone = cfg.model.backbone
    assert (backbone.window, backbone.global_blocks, backbone.drop_path) == (14, (2, 5, 8, 11), 0.1)
    backbone.update(embed_dim=48, num_heads=3)
    cfg.model.neck.in_channels = 48
    model = MODELS.build({**cfg.model, 'type': 'mmdet.MaskRCNN'})
    mae = dict(type='densecl.TimmViT', arch='vit_base_patch16_224', pos_embed='sincos-mae', hidden='dropped')
    vit = MODELS.build(dict(mae, embed_dim=48, num_heads=3))
    report = load_backbone(model, dict(state_dict=vit.state_dict()))
    assert report.fraction == 1 and report.resized == 'pos_embed 14x14 -> 64x64'
    assert report.warnings == ['relative positions start at 0: the file has none']
    groups = _groups(model, cfg)
    for i in range(12):
        rate = 1e-4 * 0.7 ** (12 - i)
        for part, decay in (('attn.qkv.weight', 0.1), ('attn.rel_pos_h', 0.1), ('norm2.weight', 0)):
            assert groups[f'backbone.blocks.{i}.{part}'] == pytest.approx((rate, decay))
    assert groups['backbone.pos_embed'] == pytest.approx((1e-4 * 0.7**13, 0))
    assert groups['backbone.patch_embed.proj.weight'] == pytest.approx((1e-4 * 0.7**13, 0.1))
    assert groups['neck.stages.2.0.weight'] == pytest.approx((1e-4, 0.1))
    assert groups['neck.stages.2.1.weight'] == pytest.approx((1e-4, 0))
    assert cfg.optim_wrapper.optimizer == dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.1)
    assert (cfg.train_cfg.max_iters, cfg.train_dataloader.batch_size) == (184_375, 8)


def test_upernet_decays_no_norm():
    cfg = load(UPERNET)
    model = nn.Module()  # the rule looks at names and kinds of modules alone
    model.backbone = MODELS.build({**cfg.model.backbone, 'type': 'mmseg.VisionTransformer'})
    groups = _groups(model, cfg)
    decayed = {name for name, (_, decay) in groups.items() if decay}
    assert not any('.ln' in n or n.endswith(('pos_embed', 'cls_token')) for n in decayed)
    assert 'backbone.layers.0.ffn.layers.1.weight' in decayed
    assert {lr for lr, _ in groups.values()} == {6e-5} and cfg.train_cfg.max_iters == 160_000


@pytest.mark.parametrize(
    'name, lr, decay, pretraining, resized',
    [
        ('upernet_vit-base-mae', 1e-4, 0.65, dict(pos_embed='sincos-mae', hidden='dropped'), 'pos_embed'),
        ('upernet_beit-base', 3e-5, 0.9, dict(arch='beit_base_patch16_224'), 'relative positions'),
    ],
)
def test_upernet_of_masked_pretraining(name, lr, decay, pretraining, resized):
    """The pretrained backbone goes in, positions resized; block i of 12 has decay^(12 - i) of the rate."""
    cfg = load(f'segmentation/{name}_ade20k.py')
    narrow = dict(embed_dim=48, num_heads=3)
    vit = dict(dict(type='TimmViT', img_size=224, depth=12, **narrow), **pretraining)
    content = dict(state_dict=MODELS.build({**vit, 'type': 'densecl.TimmViT'}).state_dict(), meta={})
    content['state_dict'] = {f'backbone.{k}': v for k, v in content['state_dict'].items()}
    cfg.model.backbone.update(narrow, img_size=64)
    cfg.model.neck.embed_dim = 48
    for head in ('decode_head', 'auxiliary_head'):
        cfg.model[head].update(in_channels=48 if head == 'auxiliary_head' else [48] * 4, channels=16)
    cfg.model.data_preprocessor.size = (64, 64)
    model = MODELS.build({**cfg.model, 'type': 'mmseg.EncoderDecoder'}).train()
    report = load_backbone(model, content)
    assert report.fraction == 1 and report.resized == f'{resized} 14x14 -> 4x4'
    groups = _groups(model, cfg)
    for i in range(12):
        rate = lr * decay ** (12 - i)
        assert groups[f'backbone.blocks.{i}.mlp.fc1.weight'] == pytest.approx((rate, 0.05))
        assert groups[f'backbone.blocks.{i}.norm1.weight'] == pytest.approx((rate, 0))
    assert groups['backbone.patch_embed.proj.weight'] == pytest.approx((lr * decay**13, 0.05))
    assert groups['backbone.cls_token'] == pytest.approx((lr * decay**13, 0))
    assert 'backbone.norm.weight' not in groups
    assert groups['decode_head.conv_seg.weight'] == pytest.approx((lr, 0.05))
    if 'beit' in name:
        table = groups['backbone.blocks.3.attn.relative_position_bias_table']
        assert table == pytest.approx((lr * decay**9, 0.05))
    sample = SegDataSample(metainfo=dict(img_shape=(64, 64), ori_shape=(64, 64)))
    sample.gt_sem_seg = PixelData(data=torch.randint(0, 150, (1, 64, 64)))
    batch = dict(
        inputs=[torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)] * 2, data_samples=[sample] * 2
    )
    losses, _ = model.parse_losses(model(**model.data_preprocessor(batch, training=True), mode='loss'))
    losses.backward()
    assert losses.isfinite()
    assert all(p.grad is not None for p in model.backbone.parameters() if p.requires_grad)
    assert cfg.train_cfg.max_iters == 160_000 and cfg.model.get('pretrained') is None


def _groups(model, cfg):
    """Parameter name -> (learning rate, weight decay)."""

    class Shell:
        pass

    shell = Shell()
    shell.model = model
    wrapper = Runner.build_optim_wrapper(shell, cfg.optim_wrapper)
    names = {id(p): n for n, p in model.named_parameters()}
    return {
        names[id(p)]: (group['lr'], group['weight_decay'])
        for group in wrapper.optimizer.param_groups
        for p in group['params']
    }
