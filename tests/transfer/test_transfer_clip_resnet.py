"""CLIP's ResNets in the layout of OpenAI and open_clip, against the network written out from their names."""

import math

import pytest
import torch
import torch.nn.functional as F

from densecl.evaluation.zero_shot import open_image_text
from densecl.models.text.transformer import QuickGELU
from densecl.registry import MODELS
from densecl.transfer import export_backbone, find_start, load_backbone
from densecl.transfer.check import backbone_features
from densecl.transfer.clip import MEAN, STD, open_clip
from densecl.transfer.hooks import PretrainedHook
from densecl.transfer.read import read_weights
from tests.oracles.pooling import attention_pool
from tests.transfer.test_transfer_clip import LENGTH, WORDS, Ids, blocks

WIDTH, BLOCKS, SIDE, DIM, TEXT = 8, (3, 4, 6, 3), 64, 16, 64


def clip_file(openai=False, layers=BLOCKS):
    """A small random file; OpenAI's hold three numbers more, and are in half precision."""
    generator, shapes = torch.Generator().manual_seed(0), {}

    def convolution(name, norm, out, given, side):
        shapes[f'visual.{name}.weight'] = (out, given, side, side)
        shapes.update({f'visual.{norm}.{leaf}': (out,) for leaf in ('weight', 'bias', 'running_mean')})
        shapes[f'visual.{norm}.running_var'] = (out,)

    for i, (given, out) in enumerate(((3, WIDTH // 2), (WIDTH // 2, WIDTH // 2), (WIDTH // 2, WIDTH)), 1):
        convolution(f'conv{i}', f'bn{i}', out, given, 3)
    given = WIDTH
    for stage, count in enumerate(layers):
        for block in range(count):
            start, mid = f'layer{stage + 1}.{block}', WIDTH * 2**stage
            convolution(f'{start}.conv1', f'{start}.bn1', mid, given, 1)
            convolution(f'{start}.conv2', f'{start}.bn2', mid, mid, 3)
            convolution(f'{start}.conv3', f'{start}.bn3', 4 * mid, mid, 1)
            if block == 0:
                convolution(f'{start}.downsample.0', f'{start}.downsample.1', 4 * mid, given, 1)
            given = 4 * mid
    shapes['visual.attnpool.positional_embedding'] = ((SIDE // 32) ** 2 + 1, given)
    for name, out in zip('qkvc', (given, given, given, DIM), strict=True):
        shapes[f'visual.attnpool.{name}_proj.weight'] = (out, given)
        shapes[f'visual.attnpool.{name}_proj.bias'] = (out,)
    shapes |= {
        'token_embedding.weight': (WORDS, TEXT),
        'positional_embedding': (LENGTH, TEXT),
        'text_projection': (TEXT, DIM),
        'ln_final.weight': (TEXT,),
        'ln_final.bias': (TEXT,),
    }
    tensors = {name: made(name, shape, generator) for name, shape in shapes.items()}
    tensors |= blocks('', TEXT, generator)
    tensors['logit_scale'] = torch.tensor(math.log(50.0))
    if openai:
        numbers = dict(input_resolution=SIDE, context_length=LENGTH, vocab_size=WORDS)
        tensors = {name: x.half() for name, x in tensors.items()}
        tensors |= {name: torch.tensor(value) for name, value in numbers.items()}
    return tensors


def made(name, shape, generator):
    if name.endswith('running_var'):
        return torch.rand(shape, generator=generator) + 0.5
    spread = math.sqrt(1 / math.prod(shape[1:])) if len(shape) > 1 else 0.3
    return torch.randn(shape, generator=generator) * spread + (len(shape) == 1 and 'weight' in name)


def normed_conv(t, x, name, norm, **how):
    x = F.conv2d(x, t[f'visual.{name}.weight'], **how)
    weight, bias, mean, var = (
        t[f'visual.{norm}.{leaf}'] for leaf in ('weight', 'bias', 'running_mean', 'running_var')
    )
    return F.batch_norm(x, mean, var, weight, bias, eps=1e-5)


def last_map(t, x):
    """CLIP's ResNet: convolutions have stride 1 but for the first, pools of 2 x 2 do the rest."""
    for i in (1, 2, 3):
        x = normed_conv(t, x, f'conv{i}', f'bn{i}', stride=2 if i == 1 else 1, padding=1).relu()
    x = F.avg_pool2d(x, 2)
    for stage, count in enumerate(BLOCKS, 1):
        for block in range(count):
            start, pool = f'layer{stage}.{block}', stage > 1 and block == 0
            y = normed_conv(t, x, f'{start}.conv1', f'{start}.bn1').relu()
            y = normed_conv(t, y, f'{start}.conv2', f'{start}.bn2', padding=1).relu()
            y = F.avg_pool2d(y, 2) if pool else y
            y = normed_conv(t, y, f'{start}.conv3', f'{start}.bn3')
            if block == 0:
                x = F.avg_pool2d(x, 2) if pool else x
                x = normed_conv(t, x, f'{start}.downsample.0', f'{start}.downsample.1')
            x = (x + y).relu()
    return x


def pool_of(t):
    return {k.removeprefix('visual.attnpool.'): x for k, x in t.items() if 'attnpool' in k}


@pytest.fixture
def images():
    return torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def backbone_of(clip):
    backbone = MODELS.build(clip.backbone)
    backbone.load_state_dict(clip.tensors)
    return backbone


@pytest.mark.parametrize('layout', ['open_clip', 'openai', 'module'])
def test_image_and_text_are_the_file_s(layout, images, tmp_path):
    t = clip_file(openai=layout == 'openai')
    state = {f'module.{k}': x for k, x in t.items()} if layout == 'module' else t
    torch.save(dict(epoch=1, state_dict=state) if layout == 'module' else state, tmp_path / 'a.pt')
    clip = open_clip(read_weights(tmp_path / 'a.pt'))
    assert clip.size == SIDE
    assert clip.projector.heads == 32 * WIDTH // 64 and clip.projector.grid == (2, 2)
    acts = {type(block.mlp['gelu']) for block in clip.tower.transformer['resblocks']}
    assert acts == {QuickGELU if layout == 'openai' else torch.nn.GELU}
    assert any('activation guessed' in note for note in clip.notes) is (layout != 'openai')
    t = {name: x.float() for name, x in t.items()}
    want = last_map(t, images)
    found = backbone_features(backbone_of(clip), images)[-1]
    torch.testing.assert_close(found, want, rtol=1e-4, atol=1e-4)
    vectors = torch.stack([attention_pool(level, pool_of(t), clip.projector.heads) for level in want])
    torch.testing.assert_close(clip.projector(found).double(), vectors, rtol=1e-4, atol=1e-4)


def test_cells_and_images_of_the_file(tmp_path, monkeypatch):
    """MaskCLIP: cells are last projection of value, the image is pooled; both are compared with texts."""
    t = clip_file()
    torch.save(t, tmp_path / 'a.pt')
    monkeypatch.setattr('densecl.evaluation.zero_shot.TRANSFORMS.build', lambda _: Ids())
    model = open_image_text(tmp_path / 'a.pt', 'a.txt.gz')
    assert model.size == SIDE
    pixels = torch.randint(0, 256, (2, SIDE, 96, 3), dtype=torch.uint8)
    seen = (pixels.permute(0, 3, 1, 2) - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    level, own = last_map(t, seen), pool_of(t)
    value = F.conv2d(level, own['v_proj.weight'][..., None, None], own['v_proj.bias'])
    value = F.conv2d(value, own['c_proj.weight'][..., None, None], own['c_proj.bias'])
    cells = model.cells(pixels)
    assert cells.shape == (2, DIM, 2, 3)
    torch.testing.assert_close(cells, F.normalize(value, dim=1), rtol=1e-4, atol=1e-4)
    square = seen[..., :SIDE]
    pooled = torch.stack([attention_pool(x, own, 4) for x in last_map(t, square)])
    found = model.images(pixels[:, :, :SIDE])
    torch.testing.assert_close(found.double(), F.normalize(pooled), rtol=1e-4, atol=1e-4)
    assert model.texts(['abc', 'd']).shape == (2, DIM)
    model.values = False
    with pytest.raises(ValueError, match='a map that is pooled by attention .* leave --maps out'):
        model.cells(pixels)


def test_the_file_is_a_start_for_any_training(tmp_path, images):
    t = clip_file()
    torch.save(t, tmp_path / 'rn50.pt')
    start = find_start(tmp_path / 'rn50.pt')
    assert start.backbone == dict(type='TimmBackbone', model_name='resnet50_clip', width_factor=WIDTH / 64)
    assert start.mean == pytest.approx(MEAN) and start.std == pytest.approx(STD)
    assert start.origin.endswith('ResNet-50 of CLIP') and start.check() < 1e-5
    assert any("features: those of timm's network" in line for line in start.lines())
    levels = start.build()(images)
    assert [x.shape[1:] for x in levels[1:]] == [
        (4 * WIDTH * 2**i, SIDE // 2 ** (i + 2), SIDE // 2 ** (i + 2)) for i in range(4)
    ]
    model = start.build().apply(lambda part: [p.data.zero_() for p in part.parameters(recurse=False)])
    load_backbone(model, start.export())
    torch.testing.assert_close(
        backbone_features(model, images)[-1], last_map(t, images), rtol=1e-4, atol=1e-4
    )
    # the export has the names of timm's whole network, which are a start again
    exported = export_backbone(start.export(), 'timm')
    assert 'stem.conv1.conv.weight' in exported['state_dict']
    assert (
        "timm.create_model(model_name='resnet50_clip', width_factor=0.125)" in exported['meta']['how_to_load']
    )
    with pytest.raises(
        ValueError, match='torchvision export knows plain ResNets only; use mmdet, mmseg, timm or'
    ):
        export_backbone(start.export(), 'torchvision')
    torch.save(exported['state_dict'], tmp_path / 'timm.pt')
    again = find_start(tmp_path / 'timm.pt')
    assert again.backbone == start.backbone and again.check() < 1e-5
    assert all(torch.equal(again.tensors[name], x) for name, x in start.tensors.items())


@pytest.mark.parametrize(('part', 'config'), [
    ('pool', dict(type='AttentionPool2d', channels=(32 * WIDTH, DIM), grid=2)),
    ('tower', dict(type='TextTransformer', vocab_size=WORDS, context_length=LENGTH, width=TEXT, depth=2,
                   heads=1, projection=DIM)),
])  # fmt: skip
def test_pool_and_tower_of_a_file_start_parts_of_a_head(tmp_path, part, config):
    torch.save(clip_file(), tmp_path / 'a.pt')
    module = MODELS.build(config)
    hook = PretrainedHook(str(tmp_path / 'a.pt'), min_match=1.0)
    _, report = hook._load(module)
    clip = open_clip(read_weights(tmp_path / 'a.pt'))
    want = (clip.projector if part == 'pool' else clip.tower).state_dict()
    assert all(torch.equal(x, want[name]) for name, x in module.state_dict().items())
    assert report.prefix == ('visual.attnpool.' if part == 'pool' else '')


def without(t, *names):
    return {k: x for k, x in t.items() if k not in names}


POSITIONS, QUERY = 'visual.attnpool.positional_embedding', 'visual.attnpool.q_proj.weight'


@pytest.mark.parametrize(('change', 'said'), [
    (lambda t: without(t, 'visual.attnpool.c_proj.weight'), r'lacks visual.attnpool.c_proj.weight of its'),
    (lambda t: without(t, 'visual.attnpool.k_proj.bias'), r"pool differs from CLIP in 1 names: \['k_proj.b"),
    (lambda t: {**t, POSITIONS: torch.zeros(7, 256)}, 'has 7 rows, expected one more than a square'),
    (lambda t: {**t, QUERY: torch.zeros(9, 256)}, r'q_proj.weight .* has shape \(9, 256\), expected \(256'),
    (lambda t: without(t, 'text_projection'), 'the text tower lacks text_projection'),
    (lambda t: without(t, 'visual.conv2.weight'), "none of CLIP's ViTs and ResNets"),
])  # fmt: skip
def test_what_is_missing_is_named(change, said):
    with pytest.raises(ValueError, match=said):
        open_clip(read_weights(dict(state_dict=change(clip_file()))))


def test_other_depths_are_refused(tmp_path):
    torch.save(clip_file(layers=(1, 2, 1, 1)), tmp_path / 'a.pt')
    for read in (find_start, lambda path: open_clip(read_weights(path))):
        with pytest.raises(ValueError, match=r'has \(1, 2, 1, 1\) blocks, which no CLIP has'):
            read(tmp_path / 'a.pt')
