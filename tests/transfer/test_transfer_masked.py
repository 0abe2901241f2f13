"""Backbones of masked modelling: what is exported, resized, read and written under official names."""

from pathlib import Path

import pytest
import timm
import torch
from mmengine.config import Config

from densecl.evaluation.features import open_encoder
from densecl.models.backbones.beit import resize_distances
from densecl.models.backbones.timm import resize_positions
from densecl.registry import MODELS
from densecl.transfer import export_backbone, find_start, load_backbone

CONFIGS = Path(__file__).parents[2] / 'configs'
VIT = dict(type='TimmViT', img_size=32, patch_size=8, embed_dim=16, depth=2, num_heads=2)
BEIT = dict(VIT, arch='beit_base_patch16_224')
SWIN = dict(
    type='TimmBackbone', model_name='swin_tiny_patch4_window7_224', embed_dim=8, depths=(1, 1, 1, 1),
    num_heads=(1, 2, 2, 4), img_size=64, window_size=2, out_indices=(3,),
)  # fmt: skip
TIMM_BEIT = {k: v for k, v in VIT.items() if k != 'type'} | dict(num_classes=0, init_values=0.1)
DECODER = dict(
    type='TransformerDecoder', in_channels=16, out_channels=192, grid=4, embed_dim=8, depth=1, num_heads=2
)
MASKED = dict(units='MaskedCells', pairs=((0, 0),))
PIXELS = dict(target=dict(type='Pixels', patch=8), objective='Reconstruction', pairs=((0, 0),))
TOKENS = dict(
    type='KMeansTokens', backbone=dict(VIT, output_cls_token=False), channels=16, codes=5, patch=8, stride=8,
    file='tokens.pth',
)  # fmt: skip
METHODS = {
    'MAE': (
        dict(VIT, hidden='dropped', pos_embed='sincos-mae', init='mae'),
        dict(PIXELS, units='DecodedCells', projector=DECODER),
    ),
    'SimMIM': (
        dict(BEIT, hidden='token', output_cls_token=False),
        dict(PIXELS, units='MaskedCells', projector=dict(type='ConvMLP', channels=(16, 192))),
    ),
    'SimMIM, Swin': (
        dict(SWIN, hidden='token', final_norm=True),
        dict(PIXELS, units='MaskedCells', projector=dict(type='ConvMLP', channels=(64, 192))),
    ),
    'VQ-KD': (  # a decoder that is larger than the backbone
        dict(VIT, output_cls_token=False),
        dict(
            units='QuantizedCells',
            pairs=((0, 0),),
            projector=dict(
                type='QuantizedDecoder',
                quantizer=dict(channels=16, codes=5, dim=3),
                decoder=dict(VIT, output_cls_token=False, patch_size=1, in_chans=3, img_size=4, depth=3),
                output=dict(type='ConvMLP', channels=(16, 16)),
            ),
            target={k: v for k, v in TOKENS.items() if k != 'codes'} | dict(type='TeacherFeatures'),
            objective='Cosine',
        ),
    ),
    'BEiT v2': (
        dict(BEIT, hidden='token', output_cls_token=False, class_path=(1, 1)),
        dict(
            units=dict(type='MaskedCells', levels=dict(last=-1, path=0)),
            pairs=((('last', 0), ('last', 0)), (('path', 0), ('last', 0))),
            projector=dict(type='ConvMLP', channels=(16, 5)),
            target=TOKENS,
            objective='CodeCrossEntropy',
        ),
    ),
    'BEiT': (
        dict(BEIT, hidden='token', output_cls_token=False),
        dict(
            MASKED,
            projector=dict(type='ConvMLP', channels=(16, 5)),
            target=TOKENS,
            objective='CodeCrossEntropy',
        ),
    ),
}
OF_TRAINING = ('hidden', 'init', 'class_path')


def pretrained(method):
    """A pretrainer with values of its own, and its checkpoint."""
    torch.manual_seed(3)
    backbone, head = METHODS[method]
    config = dict(type='densecl.SharedPretrainer', backbone=backbone, heads=dict(masked=head))
    model = MODELS.build(Config(config)._cfg_dict).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model, dict(state_dict=model.state_dict(), meta=dict(cfg=Config(dict(model=config)).pretty_text))


def plain(method):
    """The backbone that nothing hides anything from."""
    backbone = {k: v for k, v in METHODS[method][0].items() if k not in OF_TRAINING}
    torch.manual_seed(4)
    return MODELS.build(backbone).eval()


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('target', ['timm', 'safetensors'])
def test_an_export_is_the_backbone_alone(method, target):
    """No decoder, no head, no network of the target."""
    model, checkpoint = pretrained(method)
    export = export_backbone(checkpoint, target)
    names = set(export['state_dict'])
    beside = ('decoder', 'heads', 'target', 'projector', 'cls_pt_layers')
    assert not [n for n in names if any(part in n for part in beside)]
    fresh = plain(method)
    report = load_backbone(fresh, export)
    assert report.fraction == 1 and report.matched
    images = torch.randn(1, 3, 64, 64)
    for found, want in zip(fresh(images), model.backbone(images), strict=True):
        torch.testing.assert_close(found, want)
    if 'Swin' not in method:
        assert 'mask_token' not in names


@pytest.mark.parametrize('method', METHODS)
def test_a_checkpoint_loads_as_it_is(method):
    """The network of a target has the same names as the backbone's, and is passed over."""
    model, checkpoint = pretrained(method)
    fresh = plain(method)
    report = load_backbone(fresh, checkpoint)
    assert report.fraction == 1 and report.prefix == 'backbone.'
    with pytest.raises(ValueError, match='no target branch'):
        export_backbone(checkpoint, 'timm', 'target')
    name = 'patch_embed.proj.weight'
    assert torch.equal(fresh.state_dict()[name], model.backbone.state_dict()[name])


@pytest.mark.parametrize('method', METHODS)
def test_a_checkpoint_is_probed_as_it_is(method, tmp_path):
    model, checkpoint = pretrained(method)
    torch.save(checkpoint, tmp_path / 'epoch_1.pth')
    backbone = open_encoder(tmp_path / 'epoch_1.pth').eval().backbone
    images = torch.randn(1, 3, 64, 64)
    for found, level in zip(backbone(images), model.backbone(images), strict=True):
        torch.testing.assert_close(found, level)


def test_blocks_of_the_class_tokens_path_start_anew():
    """BEiT v2 goes on from a backbone that has none."""
    model, checkpoint = pretrained('BEiT')
    fresh = MODELS.build(METHODS['BEiT v2'][0])
    before = fresh.cls_pt_layers[0].mlp.fc1.weight.clone()
    report = load_backbone(fresh, checkpoint)
    assert report.fraction == 1
    assert report.warnings == ["the blocks of the class token's path (cls_pt_layers) start anew"]
    assert torch.equal(fresh.cls_pt_layers[0].mlp.fc1.weight, before)
    assert torch.equal(fresh.blocks[1].mlp.fc1.weight, model.backbone.blocks[1].mlp.fc1.weight)
    # but of a file that has them they go on
    model, checkpoint = pretrained('BEiT v2')
    report = load_backbone(fresh, checkpoint)
    assert report.fraction == 1 and not report.warnings
    assert all(torch.equal(v, model.backbone.state_dict()[k]) for k, v in fresh.state_dict().items())


@pytest.mark.parametrize('name', ['mask_token', 'masked_embed'])
def test_the_vector_of_hidden_patches_goes_from_one_pretraining_to_the_next(name):
    """Under BEiT's or iBOT's name; MAE's is the decoder's, whatever its width."""
    model, checkpoint = pretrained('SimMIM')
    fresh = MODELS.build(METHODS['SimMIM'][0])
    load_backbone(fresh, checkpoint)
    assert torch.equal(fresh.mask_token, model.backbone.mask_token)
    names = dict(model.backbone.state_dict())
    names[name] = names.pop('mask_token')[None]
    load_backbone(fresh, dict(model={k: 2 * v for k, v in names.items()}))
    assert torch.equal(fresh.mask_token, 2 * model.backbone.mask_token)
    assert load_backbone(plain('SimMIM'), dict(model=names)).fraction == 1
    load_backbone(fresh, dict(model=names | {'decoder_embed.weight': torch.zeros(16, 16)}))
    assert torch.equal(fresh.mask_token, 2 * model.backbone.mask_token)


def test_positions_for_images_twice_as_large():
    for method, name, resize in (
        ('MAE', 'pos_embed', resize_positions),
        ('SimMIM', 'rel_pos_bias.relative_position_bias_table', resize_distances),
    ):
        model, checkpoint = pretrained(method)
        backbone = {k: v for k, v in METHODS[method][0].items() if k not in OF_TRAINING}
        large = MODELS.build(dict(backbone, img_size=64)).eval()
        report = load_backbone(large, export_backbone(checkpoint, 'timm'))
        assert report.fraction == 1 and report.resized.endswith(' 4x4 -> 8x8')
        own = model.backbone.state_dict()[name]
        torch.testing.assert_close(large.state_dict()[name], resize(own, (4, 4), (8, 8)))
        images = torch.randn(1, 3, 64, 64)  # the small one resizes by itself, in the forward pass
        torch.testing.assert_close(large(images), model.backbone(images), rtol=1e-4, atol=1e-5)


def test_mmseg_has_no_relative_positions():
    with pytest.raises(ValueError, match='no counterpart for .*use timm or safetensors'):
        export_backbone(pretrained('SimMIM')[1], 'mmseg')


def official_mae(model):
    """Encoder and decoder in one dict, as models_mae.py has them."""
    decoder = model.heads['masked'].projector.state_dict()
    return {**model.backbone.state_dict(), **decoder}


def test_official_mae_names_are_ours(tmp_path):
    model, checkpoint = pretrained('MAE')
    names = official_mae(model)
    assert {'mask_token', 'decoder_embed.weight', 'decoder_blocks.0.attn.qkv.weight', 'norm.bias'} < set(
        names
    )
    torch.save(dict(model=names), tmp_path / 'mae_pretrain_vit_tiny.pth')
    start = find_start(tmp_path / 'mae_pretrain_vit_tiny.pth')
    assert start.origin.startswith('MAE') and start.licence == 'CC-BY-NC-4.0'
    assert set(start.tensors) == set(model.backbone.state_dict())
    images = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(start.build()(images)[0].shape, model.backbone(images)[0].shape)
    back = export_backbone(checkpoint, 'timm')['state_dict']
    assert back.keys() == {k for k in names if not k.startswith(('decoder', 'mask_token'))}
    assert all(torch.equal(back[k], names[k]) for k in back)


def test_a_fine_tuned_mae_has_another_norm(tmp_path):
    """fc_norm stands behind the mean of tokens: it is not the encoder's norm, which is then missing."""
    model, _ = pretrained('MAE')
    names = {
        k.replace('norm.', 'fc_norm.') if k.startswith('norm.') else k: v
        for k, v in official_mae(model).items()
    }
    fresh = plain('MAE')
    report = load_backbone(fresh, dict(model=names), min_match=0.9)
    assert report.missing == ['norm.weight', 'norm.bias']
    assert torch.equal(fresh.norm.weight, torch.ones(16))
    assert torch.equal(fresh.blocks[1].mlp.fc2.weight, model.backbone.blocks[1].mlp.fc2.weight)


@pytest.mark.parametrize('prefix', ['', 'encoder.'])
def test_official_beit_and_simmim_files_are_recognised(tmp_path, prefix):
    model, _ = pretrained('SimMIM')
    names = {f'{prefix}{k}': v for k, v in model.backbone.state_dict().items()}
    names[f'{prefix}mask_token'] = model.backbone.mask_token.detach()[None]
    names[f'{prefix}rel_pos_bias.relative_position_index'] = torch.zeros(17, 17, dtype=torch.int64)
    names |= (
        {'decoder.0.weight': torch.zeros(192, 16, 1, 1)} if prefix else {'lm_head.weight': torch.zeros(5, 16)}
    )
    torch.save(dict(model=names), tmp_path / 'vit.pth')
    start = find_start(tmp_path / 'vit.pth')
    assert start.backbone['num_heads'] == 2 and start.backbone['img_size'] == 32
    images = torch.randn(1, 3, 32, 32)
    built = start.build().eval()
    torch.testing.assert_close(built(images)[0], model.backbone(images)[0])


def fine_tuned_beit(model):
    """Official names of fine-tuning: a table and its index in every block, no norm but that of the mean."""
    shared = ('rel_pos_bias', 'norm.', 'mask_token')
    names = {k: v for k, v in model.backbone.state_dict().items() if not k.startswith(shared)}
    for i in range(2):
        names[f'blocks.{i}.attn.relative_position_bias_table'] = torch.randn(7 * 7 + 3, 2)
        names[f'blocks.{i}.attn.relative_position_index'] = torch.zeros(17, 17, dtype=torch.int64)
    return names | {'fc_norm.weight': torch.ones(16), 'head.weight': torch.zeros(5, 16)}


@pytest.mark.parametrize('size', [32, 48])
def test_a_fine_tuned_beit_has_a_table_in_each_block(tmp_path, size):
    """It starts a pretraining, goes through an export, and into an image size of another grid."""
    names = fine_tuned_beit(pretrained('SimMIM')[0])
    torch.save(dict(model=names), tmp_path / 'beit_base_patch16_224_pt22k_ft22kto1k.pth')
    start = find_start(tmp_path / 'beit_base_patch16_224_pt22k_ft22kto1k.pth')
    assert start.origin.startswith('BEiT') and start.licence == 'MIT'
    assert start.backbone['use_rel_pos_bias'] and start.backbone['final_norm'] is False
    assert not [k for k in start.tensors if k.endswith(('index', 'norm.weight')) and 'blocks' not in k]
    reference = timm.create_model('beit_base_patch16_224', **TIMM_BEIT, use_rel_pos_bias=True)
    reference.load_state_dict({k: v for k, v in names.items() if k in reference.state_dict()}, strict=False)
    images, small = torch.randn(1, 3, size, size), torch.randn(1, 3, 32, 32)
    want = reference.eval().forward_features(small)[:, 1:].transpose(1, 2).unflatten(2, (4, 4))
    torch.testing.assert_close(start.build().eval()(small)[0], want)

    run = dict(state_dict={f'backbone.{k}': v for k, v in start.tensors.items()})
    run['meta'] = dict(cfg=Config(dict(model=dict(backbone=start.backbone))).pretty_text)
    export = export_backbone(run, 'timm')
    assert export['meta']['options'].items() >= dict(use_rel_pos_bias=True, final_norm=False).items()
    assert 'use_shared_rel_pos_bias=False, use_rel_pos_bias=True, use_fc_norm=True' in str(export['meta'])
    fresh = MODELS.build(dict(start.backbone, img_size=size)).eval()
    resized = None if size == 32 else 'relative positions 4x4 -> 6x6'
    for file in (export, dict(model=names)):
        report = load_backbone(fresh, file)
        assert (report.fraction, report.resized) == (1, resized) and not report.unexpected
        torch.testing.assert_close(fresh(images), start.build().eval()(images), rtol=1e-4, atol=1e-5)


def test_tables_of_blocks_and_a_shared_one():
    """Every block gets a copy of a shared table; many tables do not make one."""
    model, checkpoint = pretrained('SimMIM')
    own = MODELS.build(dict(BEIT, use_rel_pos_bias=True, img_size=64))
    report = load_backbone(own, checkpoint)
    assert report.fraction == 1 and report.resized == 'relative positions 4x4 -> 8x8'
    table = model.backbone.rel_pos_bias.relative_position_bias_table
    for block in own.blocks:
        torch.testing.assert_close(
            block.attn.relative_position_bias_table, resize_distances(table, (4, 4), (8, 8))
        )
    with pytest.raises(RuntimeError, match=r'one table for all: set backbone.use_rel_pos_bias=True'):
        load_backbone(plain('SimMIM'), dict(model=fine_tuned_beit(model)))


def test_an_encoder_of_capi_is_exported_without_its_predictor():
    """No class token: its width is that of the patches; the number of registers is in the tensors."""
    cfg = Config.fromfile(CONFIGS / 'capi/capi_vit-slim_1xb64-coslr-16e_photos.py')
    model = MODELS.build(dict(cfg.model, _scope_='densecl'))
    content = dict(state_dict=model.state_dict(), meta=dict(cfg=cfg.pretty_text))
    exported = export_backbone(content, 'timm')
    assert exported['state_dict'].keys() == model.backbone.state_dict().keys()
    assert (exported['meta']['embed_dim'], exported['meta']['depth']) == (192, 6)
    loading = exported['meta']['how_to_load']
    assert 'capi_vit(patch_size=8, embed_dim=192, depth=6, num_heads=3, num_reg_tokens=16)' in loading
    assert load_backbone(MODELS.build(dict(cfg.model.backbone, _scope_='densecl')), content).fraction == 1
