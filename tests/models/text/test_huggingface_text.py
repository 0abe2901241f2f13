"""Towers of Hugging Face: small models that are made here, saved, and read from their folder."""

import json
import sys

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from densecl.models.text import HuggingFaceText, TextTransformer
from densecl.planning.fake import fake_copy, fake_tensor
from tests.models.played_device import PlayedDevice

transformers = pytest.importorskip('transformers')
SIZES = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, vocab_size=30)
TOKENS = torch.tensor([[1, 5, 7, 29, 0, 0], [1, 4, 3, 9, 8, 29]])


@pytest.fixture
def bert(tmp_path):
    model = transformers.BertModel(transformers.BertConfig(**SIZES, max_position_embeddings=12))
    model.save_pretrained(tmp_path / 'bert')
    return tmp_path / 'bert', model.eval()


@pytest.fixture
def clip(tmp_path):
    config = transformers.CLIPTextConfig(
        **SIZES,
        max_position_embeddings=6,
        hidden_act='quick_gelu',
        eos_token_id=29,
        bos_token_id=1,
        pad_token_id=1,  # as in the files of CLIP, whose tokenizer pads with another one
    )
    model = transformers.CLIPTextModel(config)
    model.save_pretrained(tmp_path / 'clip')
    return tmp_path / 'clip', model.eval()


def test_vector_of_a_text_is_that_of_the_model_without_padding(bert):
    folder, model = bert
    for feature in ('first', 'end', 'mean'):
        tower = HuggingFaceText(folder, feature, context_length=12).eval()
        found = tower(TOKENS)
        for row, text in zip(found, ([1, 5, 7, 29], TOKENS[1].tolist()), strict=True):
            states = model(input_ids=torch.tensor([text])).last_hidden_state[0]
            expected = {'first': states[0], 'end': states[-1], 'mean': states.mean(0)}[feature]
            torch.testing.assert_close(row, expected, rtol=1e-5, atol=1e-6)
    assert tower.width == 16 and tower.context_length == 12


@pytest.mark.parametrize(
    ('kind', 'own', 'square'),
    [
        ('MPNet', {}, False),
        ('ModernBert', dict(local_attention=4, global_attn_every_n_layers=2), False),
        ('DebertaV2', {}, False),
        ('Roberta', dict(pad_token_id=0), True),
    ],
)
def test_padding_changes_no_text_in_any_architecture(kind, own, square, tmp_path):
    """Some add a mask (B, 1, L, L) as it is, have a window of their own, or take two dimensions only."""
    sizes = SIZES | dict(
        vocab_size=60, max_position_embeddings=40, pad_token_id=0, bos_token_id=1, eos_token_id=2
    )
    config = getattr(transformers, f'{kind}Config')(**sizes | own)
    torch.manual_seed(0)
    model = getattr(transformers, f'{kind}Model')(config).eval()
    with torch.no_grad():  # texts whose vectors tell tokens apart
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(tmp_path)
    tower = HuggingFaceText(tmp_path, 'mean', context_length=20, pad_token=0).eval()
    assert tower.square_mask == square
    tokens = torch.arange(3, 23)[None].repeat(2, 1)
    tokens[1, 9:] = 0
    with torch.no_grad():
        found = tower(tokens)
        expected = [
            model(input_ids=row[None, :n]).last_hidden_state[0].mean(0)
            for row, n in zip(tokens, (20, 9), strict=True)
        ]
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-4, atol=1e-4)


def test_every_parameter_has_a_gradient(bert):
    tower = HuggingFaceText(bert[0], projection=8, context_length=12)
    tower(TOKENS).square().sum().backward()
    assert tower.width == 8
    unused = [name for name, p in tower.named_parameters() if p.grad is None]
    assert unused == []


def test_our_tower_is_clips(clip):
    """The same numbers by another hand: Hugging Face's CLIP with our weights in its places."""
    folder, _ = clip
    theirs = HuggingFaceText(folder, 'end', context_length=6, causal=True, end_token=29).eval()
    ours = TextTransformer(30, 6, 16, 2, 4, activation='quick_gelu').eval()
    state, their_names = {}, theirs.model.state_dict()
    for name, value in their_names.items():
        name = name.replace('embeddings.token_embedding', 'token_embedding')
        name = name.replace('embeddings.position_embedding.weight', 'positional_embedding')
        name = name.replace('final_layer_norm', 'ln_final').replace('encoder.layers', 'transformer.resblocks')
        name = name.replace('layer_norm', 'ln_').replace('self_attn', 'attn')
        state[name.replace('fc1', 'c_fc').replace('fc2', 'c_proj').replace('text_model.', '')] = value
    for number in range(2):
        for kind in ('weight', 'bias'):
            parts = [state.pop(f'transformer.resblocks.{number}.attn.{x}_proj.{kind}') for x in 'qkv']
            state[f'transformer.resblocks.{number}.attn.in_proj_{kind}'] = torch.cat(parts)
    ours.load_state_dict({k: v for k, v in state.items() if 'position_ids' not in k})
    torch.testing.assert_close(ours(TOKENS), theirs(TOKENS), rtol=1e-5, atol=1e-5)


def test_never_waits_for_the_device(bert):
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with PlayedDevice(mode) as device:
        model = fake_copy(mode, HuggingFaceText(bert[0], context_length=12), 'cuda')
        found = model(fake_tensor(mode, TOKENS, 'cuda'))
    assert found.device.type == 'cuda' and not device.waits


def test_random_values_need_no_weights(bert):
    folder = bert[0]
    (folder / 'model.safetensors').unlink()
    assert HuggingFaceText(folder, context_length=12, pretrained=False)(TOKENS).shape == (2, 16)


def test_refuses_in_one_line(bert, tmp_path, monkeypatch):
    for error, said, args in (
        (FileNotFoundError, 'there is no .*nowhere/config.json', (tmp_path / 'nowhere',)),
        (ValueError, "feature must be 'first', 'end' or 'mean', got 'last'", (bert[0], 'last')),
        (ValueError, 'context_length 77, but the model in .* has 12 positions', (bert[0],)),
    ):
        with pytest.raises(error, match=said) as raised:
            HuggingFaceText(*args)
        assert '\n' not in str(raised.value)
    monkeypatch.setitem(sys.modules, 'transformers', None)
    with pytest.raises(ImportError, match=r"pip install 'densecl\[text\]'"):
        HuggingFaceText(bert[0])


@pytest.mark.parametrize('pretrained', [True, False])
def test_code_of_the_folder_is_not_run(bert, pretrained, monkeypatch):
    """And nobody is asked whether to run it."""
    folder = bert[0]
    config = json.loads((folder / 'config.json').read_text()) | {
        'model_type': 'other',
        'auto_map': {'AutoConfig': 'own.Config', 'AutoModel': 'own.Model'},
    }
    (folder / 'config.json').write_text(json.dumps(config))
    (folder / 'own.py').write_text(f"open({str(folder / 'ran')!r}, 'w')")
    monkeypatch.setattr('builtins.input', lambda _: 'y')
    with pytest.raises(ValueError, match='bert cannot be read: it needs code of its own') as raised:
        HuggingFaceText(folder, context_length=12, pretrained=pretrained)
    assert '\n' not in str(raised.value) and not (folder / 'ran').exists()


def test_weights_that_are_missing_are_one_line(bert):
    (bert[0] / 'model.safetensors').unlink()
    with pytest.raises(ValueError, match='bert cannot be read: .*model.safetensors') as raised:
        HuggingFaceText(bert[0], context_length=12)
    assert '\n' not in str(raised.value)


def test_padding_of_a_causal_model_is_told(clip):
    """Its config.json need not have the tokenizer's."""
    folder, model = clip
    options = dict(context_length=6, causal=True)
    for feature, wanted in (('end', 'end_token or pad_token'), ('mean', 'set pad_token')):
        with pytest.raises(ValueError, match=f'a causal model does not say .*{wanted}'):
            HuggingFaceText(folder, feature, **options)
    states = model(input_ids=TOKENS[:1, :4]).last_hidden_state[0]
    for feature, expected in (('end', states[-1]), ('mean', states.mean(0))):
        found = HuggingFaceText(folder, feature, pad_token=0, **options).eval()(TOKENS)[0]
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_positions_that_are_counted_from_the_padding(tmp_path):
    """RoBERTa's table of 14 is for texts of 12 tokens, where the padding has id 1."""
    config = transformers.RobertaConfig(**SIZES, max_position_embeddings=14, pad_token_id=1)
    config.save_pretrained(tmp_path)
    tower = HuggingFaceText(tmp_path, context_length=12, pretrained=False)
    assert tower(torch.full((2, 12), 7)).isfinite().all()
    with pytest.raises(ValueError, match='context_length 13, but the model in .* has 12 positions'):
        HuggingFaceText(tmp_path, context_length=13, pretrained=False)
