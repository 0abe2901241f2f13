"""Targets filled from checkpoints of our own, from released tokenizers, from DALL-E's encoder."""

import pytest
import torch
from mmengine.config import Config

from densecl.evaluation.tokens import code_shares, fill
from densecl.models.backbones import DALLEEncoder
from densecl.registry import MODELS
from tests.models.heads.units.test_quantized_cells import CODES, DIM, VIT, pretrainer

PLAIN = {k: v for k, v in VIT.items() if k != 'type'}


def target(**kwargs):
    options = dict(
        type='densecl.VQKDTokens', backbone=dict(VIT), channels=12, codes=CODES, dim=DIM, patch=8, stride=8,
        file='',
    )  # fmt: skip
    return MODELS.build({**options, **kwargs}).requires_grad_(False).eval()


@pytest.fixture
def run(tmp_path):
    """A pretrainer of VQ-KD with codes of its own, and its checkpoint."""
    model = pretrainer().float().eval()
    quantizer = model.heads['features'].projector.quantizer
    quantizer.codebook.copy_(torch.nn.functional.normalize(torch.randn(CODES, DIM), dim=1))
    head = dict(units='QuantizedCells', target=dict(type='TeacherFeatures'), objective='Cosine')
    config = dict(
        type='SharedPretrainer',
        backbone=dict(PLAIN, type='TimmViT'),
        heads=dict(features=head),
        data_preprocessor=dict(type='PretrainDataPreprocessor', mean=[120.0] * 3, std=[60.0] * 3),
    )
    meta = dict(cfg=Config(dict(model=config)).pretty_text)
    torch.save(dict(state_dict=model.state_dict(), meta=meta), tmp_path / 'epoch_1.pth')
    return model, tmp_path / 'epoch_1.pth'


def test_a_run_of_our_own(run):
    model, path = run
    images = torch.randn(2, 3, 32, 32)
    tokens = target()
    assert fill(tokens, path)[0] == 'start epoch_1: densecl, online branch, ViT of 1 blocks of 12, patch 8'
    tokens.images_have([120.0] * 3, [60.0] * 3)  # the run's own
    want = model.heads['features'].projector.quantizer(model.encode(images)[-1]).ids
    assert torch.equal(tokens(images)[0][:, 0], want.float()) and len(want.unique()) > 1
    shares = code_shares(tokens, images.split(1))
    torch.testing.assert_close(shares, want.flatten().bincount(minlength=CODES) / want.numel())


def test_a_teacher_is_not_taken_for_the_encoder(run):
    """Whatever network it is: it stands in the same file."""
    teacher = MODELS.build(dict(type='densecl.TimmBackbone', model_name='tf_efficientnet_lite0'))
    content = torch.load(run[1], weights_only=True)
    state = {f'heads.features.target.backbone.{k}': v for k, v in teacher.state_dict().items()}
    torch.save(dict(content, state_dict=content['state_dict'] | state), run[1])
    assert fill(target(), run[1])[0].endswith('ViT of 1 blocks of 12, patch 8')


def test_a_run_without_codes_is_refused(run):
    model, path = run
    state = {k: v for k, v in model.state_dict().items() if 'codebook' not in k}
    torch.save(dict(state_dict=state), path)
    with pytest.raises(ValueError, match='has no code book: --start of VQKDTokens is the checkpoint'):
        fill(target(), path)


def test_a_released_tokenizer(run, tmp_path):
    """Its names: encoder with biases of query and value apart, two task layers, the quantiser's embedding."""
    model, _ = run
    encoder, quantizer = model.backbone.state_dict(), model.heads['features'].projector.quantizer
    official = {}
    for key, value in encoder.items():
        if key.endswith('qkv.bias'):
            value.chunk(3)[1].zero_()
            query, _, other = value.chunk(3)
            official[f'encoder.{key.removesuffix("qkv.bias")}q_bias'] = query.clone()
            official[f'encoder.{key.removesuffix("qkv.bias")}v_bias'] = other.clone()
        else:
            official['encoder.' + ('fc_' if key.startswith('norm.') else '') + key] = value
    for layer in (0, 2):
        official[f'encode_task_layer.{layer}.weight'] = quantizer.embed[layer].weight[:, :, 0, 0]
        official[f'encode_task_layer.{layer}.bias'] = quantizer.embed[layer].bias
    official['quantize.embedding.weight'] = quantizer.codebook
    official['quantize.cluster_size'] = torch.rand(CODES)
    official['decode_task_layer.0.weight'] = torch.rand(3, 3)
    torch.save(dict(model=official), tmp_path / 'vqkd.pth')
    tokens = target()
    assert fill(tokens, tmp_path / 'vqkd.pth') == ['a released VQ-KD tokenizer of BEiT v2 (MIT)']
    images = torch.randn(2, 3, 32, 32)
    tokens.images_have([127.5] * 3, [127.5] * 3)
    want = quantizer(model.encode(images)[-1]).ids
    assert torch.equal(tokens(images)[0][:, 0], want.float())


def test_dalles_encoder(tmp_path):
    encoder = DALLEEncoder(codes=9, width=8)
    torch.save(encoder.state_dict(), tmp_path / 'encoder.pth')
    config = dict(type='densecl.DALLETokens', patch=16, file='', codes=9, width=8)
    tokens = MODELS.build(config).requires_grad_(False).eval()
    fill(tokens, tmp_path / 'encoder.pth')
    images = torch.rand(1, 3, 32, 32) * 255
    half = torch.nn.functional.interpolate(images, (16, 16), mode='bilinear', antialias=True)
    torch.testing.assert_close(tokens.features(images), encoder(0.8 * half / 255 + 0.1), rtol=1e-4, atol=1e-5)


def test_a_teacher(run):
    model, path = run
    teacher = MODELS.build(
        dict(type='densecl.TeacherFeatures', backbone=dict(VIT), channels=12, patch=8, stride=8, file='')
    ).eval()
    assert 'densecl' in fill(teacher, path)[0]
    images = torch.randn(1, 3, 32, 32)
    teacher.images_have([120.0] * 3, [60.0] * 3)
    torch.testing.assert_close(teacher(images)[0], model.encode(images)[-1])
