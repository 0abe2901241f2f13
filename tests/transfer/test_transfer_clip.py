"""Files in the layout of OpenAI and open_clip, against the networks written out from their names."""

import math

import pytest
import torch
import torch.nn.functional as F

from densecl.evaluation.zero_shot import open_image_text
from densecl.models.text.transformer import QuickGELU
from densecl.transfer import find_start, load_backbone
from densecl.transfer.check import backbone_features
from densecl.transfer.clip import MEAN, STD, open_clip, read_clip
from densecl.transfer.network import Hints
from densecl.transfer.read import read_weights

WIDTH, HEADS, DEPTH, PATCH, SIDE, DIM, WORDS, LENGTH = 128, 2, 2, 8, 32, 16, 40, 7


def blocks(prefix, width, generator):
    """Random tensors of a transformer."""
    shapes = {}
    for i in range(DEPTH):
        block = f'{prefix}transformer.resblocks.{i}.'
        for norm in ('ln_1', 'ln_2'):
            shapes |= {f'{block}{norm}.weight': (width,), f'{block}{norm}.bias': (width,)}
        for name, out, given in (
            ('attn.in_proj_', 3 * width, width),
            ('attn.out_proj.', width, width),
            ('mlp.c_fc.', 4 * width, width),
            ('mlp.c_proj.', width, 4 * width),
        ):
            shapes |= {f'{block}{name}weight': (out, given), f'{block}{name}bias': (out,)}
    return {name: torch.randn(shape, generator=generator) * 0.1 for name, shape in shapes.items()}


def clip_file(openai=False):
    """A small random file; OpenAI's hold three numbers more."""
    generator = torch.Generator().manual_seed(0)
    shapes = {
        'visual.class_embedding': (WIDTH,),
        'visual.positional_embedding': ((SIDE // PATCH) ** 2 + 1, WIDTH),
        'visual.conv1.weight': (WIDTH, 3, PATCH, PATCH),
        'visual.proj': (WIDTH, DIM),
        'token_embedding.weight': (WORDS, WIDTH),
        'positional_embedding': (LENGTH, WIDTH),
        'text_projection': (WIDTH, DIM),
    }
    for norm in ('visual.ln_pre', 'visual.ln_post', 'ln_final'):
        shapes |= {f'{norm}.weight': (WIDTH,), f'{norm}.bias': (WIDTH,)}
    tensors = {name: torch.randn(shape, generator=generator) * 0.2 for name, shape in shapes.items()}
    tensors |= blocks('visual.', WIDTH, generator) | blocks('', WIDTH, generator)
    tensors['logit_scale'] = torch.tensor(math.log(50.0))
    if openai:
        numbers = dict(input_resolution=SIDE, context_length=LENGTH, vocab_size=WORDS)
        tensors |= {name: torch.tensor(value) for name, value in numbers.items()}
    return tensors


def normed(t, x, name):
    return F.layer_norm(x, (x.shape[-1],), t[f'{name}.weight'], t[f'{name}.bias'], 1e-5)


def transformer(t, x, prefix, quick, causal=False, values_of_last=False):
    """(B, L, C) through blocks written out; values in place of the last attention for MaskCLIP."""
    for i in range(DEPTH):
        block = f'{prefix}transformer.resblocks.{i}.'
        y = normed(t, x, f'{block}ln_1')
        y = F.linear(y, t[f'{block}attn.in_proj_weight'], t[f'{block}attn.in_proj_bias'])
        heads = lambda z: z.unflatten(-1, (HEADS, -1)).transpose(1, 2)  # noqa: E731
        query, key, value = y.chunk(3, -1)
        scores = heads(query) @ heads(key).mT / math.sqrt(WIDTH // HEADS)
        if causal:
            scores = scores.masked_fill(torch.ones(scores.shape[-2:]).triu(1).bool(), -torch.inf)
        mixed = (scores.softmax(-1) @ heads(value)).transpose(1, 2).flatten(2)
        if values_of_last and i == DEPTH - 1:
            mixed = value
        x = x + F.linear(mixed, t[f'{block}attn.out_proj.weight'], t[f'{block}attn.out_proj.bias'])
        y = F.linear(normed(t, x, f'{block}ln_2'), t[f'{block}mlp.c_fc.weight'], t[f'{block}mlp.c_fc.bias'])
        y = y * torch.sigmoid(1.702 * y) if quick else F.gelu(y)
        x = x + F.linear(y, t[f'{block}mlp.c_proj.weight'], t[f'{block}mlp.c_proj.bias'])
    return x


def image_tower(t, images, quick, values=False):
    """(B, 1 + h w, C) after the last norm."""
    x = F.conv2d(images, t['visual.conv1.weight'], stride=PATCH).flatten(2).transpose(1, 2)
    x = (
        torch.cat([t['visual.class_embedding'].expand(len(x), 1, -1), x], 1)
        + t['visual.positional_embedding']
    )
    x = transformer(t, normed(t, x, 'visual.ln_pre'), 'visual.', quick, values_of_last=values)
    return normed(t, x, 'visual.ln_post')


def text_tower(t, tokens, quick):
    x = t['token_embedding.weight'][tokens] + t['positional_embedding']
    x = normed(t, transformer(t, x, '', quick, causal=True), 'ln_final')
    return x[torch.arange(len(x)), tokens.argmax(1)] @ t['text_projection']


@pytest.fixture
def images():
    return torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize('openai', [False, True])
def test_both_towers_are_the_files_networks(openai, images):
    t = clip_file(openai)
    clip = open_clip(read_weights(dict(state_dict=t)))
    tokens = torch.randint(0, WORDS - 1, (3, LENGTH), generator=torch.Generator().manual_seed(2))
    tokens[torch.arange(3), torch.tensor([2, 4, 6])] = WORDS - 1
    torch.testing.assert_close(clip.tower(tokens), text_tower(t, tokens, openai), rtol=1e-4, atol=1e-5)
    backbone = find_start_of(clip)
    want = image_tower(t, images, openai)
    patches, token = backbone_features(backbone, images, tokens=True)
    torch.testing.assert_close(token.flatten(1), want[:, 0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(patches.flatten(2).mT, want[:, 1:], rtol=1e-4, atol=1e-5)
    projected = clip.projector(token.flatten(1))
    torch.testing.assert_close(projected, want[:, 0] @ t['visual.proj'], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(('width', 'heads'), [
    (768, 12), (1024, 16), (1280, 16), (1408, 16), (1664, 16), (1792, 16),
])  # fmt: skip
def test_heads_are_open_clips_at_each_width(width, heads):
    """ViT-B, L, H, g, bigG and e: from H on, image towers have 16 heads of more than 64 channels."""
    t = {
        'class_embedding': torch.zeros(width),
        'positional_embedding': torch.zeros(5, width),
        'conv1.weight': torch.zeros(width, 3, 2, 2),
        'ln_pre.weight': torch.zeros(width),
        'transformer.resblocks.0.ln_1.weight': torch.zeros(width),
        'transformer.resblocks.0.mlp.c_fc.weight': torch.zeros(4 * width, 1),
    }
    network = read_clip(t, Hints(), 'CLIP')
    assert network.backbone['num_heads'] == heads
    assert f'{heads} ({width // heads} channels each)' in network.notes[0]


@pytest.mark.parametrize(
    ('file', 'numbers', 'flag', 'quick'),
    [
        ('a.pt', False, None, False),
        ('a.pt', True, None, True),
        ('vit_OpenAI.pt', False, None, True),
        ('vit-quickgelu.pt', False, None, True),
        ('a.pt', False, True, True),
        ('vit_openai.pt', True, False, False),
    ],
)
def test_start_and_towers_have_one_activation(file, numbers, flag, quick, tmp_path):
    torch.save(clip_file(numbers), tmp_path / file)
    clip = open_clip(read_weights(tmp_path / file), flag)
    assert ('quickgelu' in clip.backbone['arch']) is quick
    acts = {type(block.mlp['gelu']) for block in clip.tower.transformer['resblocks']}
    assert acts == {QuickGELU if quick else torch.nn.GELU}
    assert any('activation guessed' in note for note in clip.notes) is (flag is None and not quick)
    if flag is None:
        assert find_start(tmp_path / file).backbone['arch'] == clip.backbone['arch']


def find_start_of(clip):
    from densecl.registry import MODELS

    backbone = MODELS.build(clip.backbone)
    backbone.load_state_dict(clip.tensors)
    return backbone


def test_a_text_tower_below_a_name_of_its_own_is_read():
    plain = clip_file()
    named = {k if k.startswith(('visual', 'logit')) else f'text.{k}': x for k, x in plain.items()}
    one, other = (open_clip(read_weights(dict(state_dict=t))).tower.state_dict() for t in (plain, named))
    assert all(torch.equal(one[k], other[k]) for k in one)


def test_the_file_is_a_start_for_any_training(tmp_path, images):
    t = clip_file()
    torch.save(t, tmp_path / 'vit_openai.pt')
    start = find_start(tmp_path / 'vit_openai.pt')
    assert start.mean == MEAN and start.std == STD
    assert 'CLIP' in start.origin and start.check() < 1e-5
    token = backbone_features(start.build(), images, tokens=True)[-1]
    torch.testing.assert_close(token.flatten(1), image_tower(t, images, True)[:, 0], rtol=1e-4, atol=1e-5)
    torch.save(t, tmp_path / 'other.pt')
    start = find_start(tmp_path / 'other.pt')
    assert any('activation guessed: GELU' in note for note in start.notes)
    model = start.build()
    for parameter in model.parameters():
        parameter.data.zero_()
    load_backbone(model, start.tensors)
    token = backbone_features(model, images, tokens=True)[-1]
    torch.testing.assert_close(token.flatten(1), image_tower(t, images, False)[:, 0], rtol=1e-4, atol=1e-5)


class Ids:
    context_length = LENGTH

    def encode(self, texts):
        return torch.tensor(
            [[ord(c) - 97 for c in text] + [WORDS - 1] * (LENGTH - len(text)) for text in texts]
        )


def test_cells_are_the_values_of_the_last_attention(tmp_path, monkeypatch):
    """MaskCLIP: each patch its own value, through the rest of the block, the norm and the projection."""
    t = clip_file()
    torch.save(t, tmp_path / 'a.pt')
    monkeypatch.setattr('densecl.evaluation.zero_shot.TRANSFORMS.build', lambda _: Ids())
    model = open_image_text(tmp_path / 'a.pt', 'a.txt.gz')
    pixels = torch.randint(0, 256, (2, SIDE, SIDE, 3), dtype=torch.uint8)
    seen = (pixels.permute(0, 3, 1, 2) - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    want = F.normalize(image_tower(t, seen, False, values=True)[:, 1:] @ t['visual.proj'], dim=-1)
    torch.testing.assert_close(model.cells(pixels).flatten(2).mT, want, rtol=1e-4, atol=1e-5)
    plain = F.normalize(image_tower(t, seen, False) @ t['visual.proj'], dim=-1)
    torch.testing.assert_close(model.images(pixels), plain[:, 0], rtol=1e-4, atol=1e-5)
    model.values = False
    torch.testing.assert_close(model.cells(pixels).flatten(2).mT, plain[:, 1:], rtol=1e-4, atol=1e-5)
    assert model.texts(['abc', 'd']).shape == (2, DIM)
    assert [note.split(':')[0] for note in model.notes] == ['attention heads guessed', 'activation guessed']
    with pytest.raises(ValueError, match='does not hold its tokenizer'):
        open_image_text(tmp_path / 'a.pt')


def test_what_is_no_tower_of_clip_is_refused():
    t = {k: x for k, x in clip_file().items() if not k.startswith('visual.ln_pre')}
    with pytest.raises(ValueError, match="none of CLIP's ViTs and ResNets, .* visual.class_embedding"):
        open_clip(read_weights(dict(state_dict=t)))
    t = clip_file()
    del t['ln_final.bias']
    with pytest.raises(ValueError, match=r"differs from CLIP in 1 names: \['ln_final.bias'\]"):
        open_clip(read_weights(dict(state_dict=t)))
