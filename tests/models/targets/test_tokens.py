"""Numbers of visual words, against loops; the file; how images are normalised again."""

import pytest
import torch
from oracles import quantised
from torch import nn

from densecl.evaluation.tokens import fill_centres
from densecl.models.targets import KMeansTokens
from densecl.registry import MODELS
from densecl.transfer import find_start
from densecl.transfer.start import Start
from densecl.transfer.teachers import use_start

BACKBONE = dict(
    type='TimmViT', img_size=16, patch_size=8, embed_dim=8, depth=1, num_heads=2, output_cls_token=False
)


def build(**kwargs):
    torch.manual_seed(0)
    options = dict(type='densecl.KMeansTokens', backbone=BACKBONE, channels=8, codes=5, patch=8, stride=8)
    target = MODELS.build({**options, 'file': 'tokens.pth', **kwargs}).requires_grad_(False).eval()
    target.offset.normal_()
    target.centres.normal_()
    return target


@pytest.fixture
def images():
    return torch.randn(2, 3, 16, 24, generator=torch.Generator().manual_seed(1))


def codes_by_loops(target, maps):
    """(B, C, h, w) features -> (B, h, w), one cell and one centre at a time."""
    centres, offset = target.centres.double(), target.offset.double()
    found = torch.empty(len(maps), *maps.shape[2:])
    for b in range(len(maps)):
        for y in range(maps.shape[2]):
            for x in range(maps.shape[3]):
                row = maps[b, :, y, x].double() - offset
                row = row / sum(v**2 for v in row.tolist()) ** 0.5
                distances = [
                    sum((v - c) ** 2 for v, c in zip(row, centre, strict=True)) for centre in centres
                ]
                found[b, y, x] = distances.index(min(distances))
    return found


def test_codes_are_the_nearest_centres(images):
    target = build()
    (level,) = target(images)
    assert level.shape == (2, 1, 2, 3) and level.dtype == torch.float32
    assert torch.equal(level[:, 0], codes_by_loops(target, target.backbone(images)[0]))
    assert len(level.unique()) > 1


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_large_numbers_survive_half_precision(dtype, images):
    """Half precision has no 2,049 and no 257; codes are compared and kept in float32."""
    target = build(codes=4000)
    target.centres.copy_(nn.functional.normalize(target.centres, dim=1) + 10)  # far from all rows
    rows = nn.functional.normalize(target.backbone(images)[0].permute(0, 2, 3, 1) - target.offset, dim=-1)
    target.centres[3001:3013] = rows.flatten(0, 2)
    with torch.autocast('cpu', dtype=dtype, enabled=dtype == torch.bfloat16):
        (level,) = target(images.to(dtype).float())
    assert level.dtype == torch.float32
    assert level.min() >= 3001 and level.max() <= 3012 and len(level.unique()) > 6


def test_images_are_normalised_again(images):
    """The pretrainer's own mean and std are undone, then those of the network applied."""
    pixels = images * 40 + 120
    plain, told = build(), build()
    for target in (plain, told):
        target.mean.copy_(torch.tensor([100.0, 110.0, 120.0]).view(3, 1, 1))
        target.std.copy_(torch.tensor([50.0, 60.0, 70.0]).view(3, 1, 1))
    told.images_have([127.5, 120.0, 110.0], [60.0, 70.0, 80.0])
    given = (pixels - torch.tensor([127.5, 120.0, 110.0]).view(3, 1, 1)) / torch.tensor(
        [60.0, 70.0, 80.0]
    ).view(3, 1, 1)
    torch.testing.assert_close(told.features(given), plain.features(pixels), rtol=1e-4, atol=1e-5)
    normalised = (pixels - told.mean) / told.std
    torch.testing.assert_close(told.features(given), told.backbone(normalised)[0], rtol=1e-4, atol=1e-5)


def test_a_patch_is_a_cell_whatever_the_stride(images):
    """Patches of 4 px, features of stride 8: the network sees the image twice as large."""
    seen, target = [], build(patch=4)
    target.backbone.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape))
    (level,) = target(images)
    assert level.shape == (2, 1, 4, 6) and seen == [(2, 3, 32, 48)]


def test_the_pretrainer_tells_its_normalisation_and_reads_the_file(tmp_path, images):
    saved = build()
    torch.save(dict(state_dict=saved.state_dict()), tmp_path / 'tokens.pth')
    head = dict(
        units='MaskedCells',
        projector=dict(type='ConvMLP', channels=(8, 5)),
        target=dict(
            type='KMeansTokens', backbone=BACKBONE, channels=8, codes=5, patch=8, stride=8,
            file=str(tmp_path / 'tokens.pth'),
        ),
        objective='CodeCrossEntropy',
        pairs=((0, 0),),
    )  # fmt: skip
    config = dict(
        type='densecl.SharedPretrainer',
        backbone=dict(BACKBONE, hidden='token'),
        heads=dict(codes=head),
        data_preprocessor=dict(type='PretrainDataPreprocessor', mean=[127.5] * 3, std=[100.0] * 3),
    )
    model = MODELS.build(config)
    target = model.heads['codes'].target
    torch.testing.assert_close(target.image_mean.flatten(), torch.full((3,), 127.5))
    torch.testing.assert_close(target.image_std.flatten(), torch.full((3,), 100.0))
    model.init_weights()
    assert torch.equal(target.centres, saved.centres)
    assert not target.training and not any(p.requires_grad for p in target.parameters())
    assert 'heads.codes.target.centres' in model.state_dict()


def test_centres_of_real_groups():
    """Images of one colour each: as many codes as colours, and each its own."""
    target = build(codes=3)
    colours = torch.tensor([[2.0, 0, 0], [0, 2.0, 0], [0, 0, 2.0]])
    images = colours[torch.arange(30) % 3][:, :, None, None] * torch.linspace(0.9, 1.1, 30).view(30, 1, 1, 1)
    images = images.expand(30, 3, 8, 8)
    shares = fill_centres(target, images.split(7), rows=1000)
    torch.testing.assert_close(shares, torch.full((3,), 1 / 3))
    (level,) = target(images)
    codes = level[:, 0, 0, 0].view(10, 3)
    assert (codes == codes[0]).all() and len(codes[0].unique()) == 3


def test_what_is_refused(tmp_path, images):
    with pytest.raises(FileNotFoundError, match=r'KMeansTokens: .*tokens\.pth does not exist; make it'):
        build(file=str(tmp_path / 'tokens.pth')).init_weights()
    torch.save(dict(state_dict=build(codes=4).state_dict()), tmp_path / 'tokens.pth')
    with pytest.raises(ValueError, match='was made for another backbone or number of codes'):
        build(file=str(tmp_path / 'tokens.pth')).init_weights()
    with pytest.raises(ValueError, match=r'level -1 is \(8, 2, 3\), not 6 channels of 2 x 3 cells'):
        build(channels=6)(images)
    with pytest.raises(ValueError, match='reads 3 channels, data_preprocessor.mean has 4'):
        build().images_have([1.0] * 4, [1.0] * 4)
    with pytest.raises(ValueError, match='2 cells for 5 codes: give more images, or fewer codes'):
        fill_centres(build(), [images[:1, :, :8, :16]])
    assert isinstance(build(), KMeansTokens)


def test_teacher_features_are_the_networks(images):
    options = dict(backbone=BACKBONE, channels=8, patch=8, stride=8, file='teacher.pth')
    teacher = MODELS.build(dict(type='densecl.TeacherFeatures', **options)).eval()
    teacher.mean.fill_(3.0)
    teacher.std.fill_(2.0)
    (level,) = teacher(images)
    torch.testing.assert_close(level, teacher.backbone((images - 3) / 2)[0])
    with pytest.raises(FileNotFoundError, match=r'TeacherFeatures: teacher\.pth does not exist; make it'):
        teacher.init_weights()


def test_a_teacher_is_any_start(images, tmp_path):
    """Its weights, and how its images are normalised."""
    torch.manual_seed(3)
    vit = dict(type='TimmViT', img_size=16, patch_size=8, embed_dim=8, depth=1, num_heads=1)
    network = MODELS.build(vit).eval()
    made = Start(
        'strong', vit, network.state_dict(), (3.0,) * 3, (2.0,) * 3, licence='MIT', origin='a project'
    )
    path = made.save(tmp_path / 'strong.pth')
    given = dict(backbone=dict(vit, output_cls_token=False), channels=8, patch=8, stride=8)
    teacher = MODELS.build(dict(given, type='densecl.TeacherFeatures', start=str(path))).eval()
    teacher.init_weights()  # nothing: there is no file
    use_start(teacher, find_start(path))
    torch.testing.assert_close(teacher(images)[0], network((images - 3) / 2)[0])
    for wrong in ({}, dict(file='a.pth', start='b.pth')):
        with pytest.raises(ValueError, match='TeacherFeatures needs file or start, not both'):
            MODELS.build(dict(given, type='densecl.TeacherFeatures', **wrong))


def test_codes_of_a_quantiser(images):
    """Linear, Tanh, Linear, length 1, the nearest; a target never learns."""
    target = MODELS.build(
        dict(
            type='densecl.VQKDTokens',
            backbone=BACKBONE,
            channels=8,
            codes=5,
            dim=3,
            patch=8,
            stride=8,
            file='',
        )  # fmt: skip
    ).requires_grad_(False)
    target.eval()
    target.quantizer.codebook.copy_(nn.functional.normalize(torch.randn(5, 3), dim=1))
    (level,) = target(images)
    first, second = (target.quantizer.embed[i] for i in (0, 2))
    found = target.backbone(images)[0]
    for b, y, x in [(b, y, x) for b in range(2) for y in range(2) for x in range(3)]:
        row = torch.tanh(first.weight[:, :, 0, 0] @ found[b, :, y, x] + first.bias)
        row = (second.weight[:, :, 0, 0] @ row + second.bias).tolist()
        assert level[b, 0, y, x] == quantised.nearest_code(
            quantised.length_one(row), target.quantizer.codebook.tolist()
        )
    assert len(level.unique()) > 1 and not target.quantizer.totals.any()


def dalle_by_hand(state, x):
    """DALL-E's encoder of a state dict by its official names, with 4 groups of 2 blocks."""

    def conv(name, x):
        weight = state[f'blocks.{name}.w']
        return nn.functional.conv2d(x, weight, state[f'blocks.{name}.b'], padding=weight.shape[-1] // 2)

    x = conv('input', x)
    for group in range(1, 5):
        for block in (1, 2):
            name, y = f'group_{group}.block_{block}', x
            for layer in range(1, 5):
                y = conv(f'{name}.res_path.conv_{layer}', y.relu())
            x = (conv(f'{name}.id_path', x) if f'blocks.{name}.id_path.w' in state else x) + y / 64
        if group < 4:
            x = nn.functional.max_pool2d(x, 2)
    return conv('output.conv', x.relu())


def test_codes_of_dalle():
    """A copy of half the side, its pixels between 0.1 and 0.9."""
    torch.manual_seed(0)
    config = dict(type='densecl.DALLETokens', patch=16, file='', codes=9, width=8)
    target = MODELS.build(config).requires_grad_(False).eval().double()
    target.images_have([120.0, 110.0, 100.0], [60.0, 50.0, 40.0])
    pixels = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shift, scale = (
        torch.tensor(v).view(3, 1, 1).double() for v in ([120.0, 110.0, 100.0], [60.0, 50.0, 40.0])
    )
    half = nn.functional.interpolate(0.8 * pixels + 0.1, (32, 48), mode='bilinear', antialias=True)
    state = target.backbone.state_dict()
    state['blocks.output.conv.b'] -= dalle_by_hand(state, half).mean((0, 2, 3))  # so that codes differ
    logits, given = dalle_by_hand(state, half), (255 * pixels - shift) / scale
    (level,) = target(given)
    torch.testing.assert_close(target.features(given), logits, rtol=1e-5, atol=1e-7)
    assert level.shape == (2, 1, 4, 6) and len(level.unique()) > 1
    assert torch.equal(level[:, 0], logits.argmax(1).double())


def test_the_size_of_dalles_encoder():
    """Of 256 channels and 8,192 codes: widths and kernels of its code."""
    with torch.device('meta'):
        found = MODELS.build(dict(type='densecl.DALLEEncoder'))

    def conv(inputs, outputs, side):
        return inputs * outputs * side**2 + outputs

    want, before = conv(3, 256, 7) + conv(2048, 8192, 1), 256
    for after in (256, 512, 1024, 2048):
        want += conv(before, after, 1) if before != after else 0
        for inputs in (before, after):
            quarter = after // 4
            want += conv(inputs, quarter, 3) + 2 * conv(quarter, quarter, 3) + conv(quarter, after, 1)
        before = after
    assert sum(p.numel() for p in found.parameters()) == want
    names = found.state_dict().keys()
    assert {'blocks.input.w', 'blocks.group_2.block_1.id_path.b', 'blocks.output.conv.w'} <= names
    first = 'blocks.group_1.block_1'
    assert f'{first}.res_path.conv_4.w' in names and f'{first}.id_path.w' not in names
