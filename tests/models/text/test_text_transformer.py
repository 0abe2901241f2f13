"""The text transformer against torch's own layers in float64, and what it must not see."""

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from densecl.models.text import TextTransformer
from densecl.planning.fake import fake_copy, fake_tensor
from tests.models.played_device import PlayedDevice

END = 29
TOKENS = torch.tensor([[1, 5, 7, END, 0, 0], [1, 4, 3, 9, 8, END]])


def tower(**kwargs) -> TextTransformer:
    options = dict(vocab_size=30, context_length=8, width=16, depth=2, heads=4)
    return TextTransformer(**{**options, **kwargs}).double().eval()


def by_torchs_layers(tower: TextTransformer, tokens: torch.Tensor, feature: str) -> torch.Tensor:
    """The same by ``nn.TransformerEncoderLayer``, text by text, without what stands behind the end."""
    layers, weights = [], tower.state_dict()
    for number in range(len(tower.transformer['resblocks'])):
        layer = nn.TransformerEncoderLayer(16, 4, 64, 0.0, 'gelu', batch_first=True, norm_first=True).double()
        own = {
            k.split('.', 3)[3]: v
            for k, v in weights.items()
            if k.startswith(f'transformer.resblocks.{number}.')
        }
        names = {
            'norm1': 'ln_1',
            'norm2': 'ln_2',
            'self_attn': 'attn',
            'linear1': 'mlp.c_fc',
            'linear2': 'mlp.c_proj',
        }
        layer.load_state_dict(
            {k: own[k.replace(k.split('.')[0], names[k.split('.')[0]], 1)] for k in layer.state_dict()}
        )
        layers.append(layer.train())  # eval mode takes a fused path
    rows = []
    for text in tokens.tolist():
        text = text[: text.index(END) + 1]
        x = weights['token_embedding.weight'][text] + weights['positional_embedding'][: len(text)]
        mask = torch.full((len(text),) * 2, -torch.inf, dtype=torch.float64).triu(1) if tower.causal else None
        for layer in layers:
            x = layer(x[None], src_mask=mask)[0]
        x = x[-1 if feature == 'end' else 0]
        x = (x - x.mean()) / (x.var(unbiased=False) + 1e-5).sqrt()
        x = x * weights['ln_final.weight'] + weights['ln_final.bias']
        rows.append(x @ weights['text_projection'] if 'text_projection' in weights else x)
    return torch.stack(rows)


@pytest.mark.parametrize(
    'options',
    [
        dict(projection=12),
        dict(causal=False),
        dict(causal=False, feature='first'),
        dict(causal=False, end_token=END, projection=5),
    ],
    ids=str,
)
def test_is_a_pre_norm_transformer(options):
    model = tower(**options)
    for parameter in model.parameters():  # biases too
        nn.init.normal_(parameter, std=0.5)
    found = model(TOKENS)
    expected = by_torchs_layers(model, TOKENS, options.get('feature', 'end'))
    assert found.shape == (2, model.width) == (2, options.get('projection', 16))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('causal', [True, False])
def test_what_stands_behind_the_end_token_is_not_seen(causal):
    model, other = tower(causal=causal), TOKENS.clone()
    other[0, 4:] = 17
    assert torch.equal(model(TOKENS), model(other))
    shorter = model(TOKENS[:1, :4])
    torch.testing.assert_close(shorter, model(TOKENS[:1]), rtol=1e-12, atol=1e-12)


def test_end_token_of_another_vocabulary_is_named():
    tokens = torch.tensor([[1, 25, 2, 0, 0]])  # 2 ends the text, 25 is larger
    largest, named = tower(), tower(end_token=2)
    named.load_state_dict(largest.state_dict())
    assert not torch.allclose(largest(tokens), named(tokens))
    torch.testing.assert_close(named(tokens), named(tokens[:, :3]), rtol=1e-12, atol=1e-12)


def test_initial_values_are_clips():
    model = TextTransformer(vocab_size=2000, context_length=77, width=256, depth=3, heads=4, projection=128)
    block = model.transformer['resblocks'][1]
    expected = {
        model.token_embedding.weight: 0.02,
        model.positional_embedding: 0.01,
        block.attn.in_proj_weight: 256**-0.5,
        block.attn.out_proj.weight: 256**-0.5 * 6**-0.5,
        block.mlp['c_fc'].weight: 512**-0.5,
        block.mlp['c_proj'].weight: 256**-0.5 * 6**-0.5,
        model.text_projection: 256**-0.5,
    }
    for parameter, std in expected.items():
        assert parameter.std().item() == pytest.approx(std, rel=0.03)
    assert not block.attn.in_proj_bias.any() and not block.attn.out_proj.bias.any()


def test_standard_size_is_clips():
    model = TextTransformer(projection=512)
    assert sum(p.numel() for p in model.parameters()) == 63_428_096  # 63M; the attention mask is no parameter


def test_dropout_makes_two_views_in_training_alone():
    model = tower(causal=False, feature='first', dropout=0.1)
    assert torch.equal(model(TOKENS), model(TOKENS))
    model.train()
    first, second = model(TOKENS), model(TOKENS)
    assert not torch.allclose(first, second)
    assert torch.cosine_similarity(first, second).mean() > 0.5


def test_names_are_those_of_clips_checkpoints():
    names = set(tower(projection=4).state_dict())
    block = ('ln_1', 'attn.out_proj', 'ln_2', 'mlp.c_fc', 'mlp.c_proj')
    assert {f'transformer.resblocks.0.{part}.weight' for part in block} <= names
    others = {
        'positional_embedding',
        'text_projection',
        'token_embedding.weight',
        'ln_final.weight',
        'ln_final.bias',
    }
    assert (
        others | {'transformer.resblocks.1.attn.in_proj_weight', 'transformer.resblocks.1.attn.in_proj_bias'}
        <= names
    )


@pytest.mark.parametrize(
    'options', [dict(projection=4), dict(causal=False, feature='first', dropout=0.1)], ids=str
)
def test_never_waits_for_the_device(options):
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with PlayedDevice(mode) as device:
        model = fake_copy(mode, tower(**options).float().train(), 'cuda')
        found = model(fake_tensor(mode, TOKENS, 'cuda'))
    assert found.device.type == 'cuda' and not device.waits


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        (dict(activation='relu'), "activation must be 'gelu' or 'quick_gelu', got 'relu'"),
        (dict(feature='mean', causal=False), "feature must be 'end' or 'first', got 'mean'"),
        (dict(heads=3), 'width 16 is no multiple of its 3 heads'),
        (dict(feature='first'), 'sees nothing but itself'),
    ],
    ids=str,
)
def test_refuses_in_one_line(options, said):
    with pytest.raises(ValueError, match=said) as error:
        tower(**options)
    assert '\n' not in str(error.value)


def test_too_many_tokens():
    with pytest.raises(ValueError, match='texts of 9 tokens, context_length is 8'):
        tower()(torch.ones(1, 9, dtype=torch.int64))
