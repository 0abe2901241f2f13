"""Numbers of visual words, against loops; the file; how images are normalised again."""

import pytest
import torch
from torch import nn

from densecl.evaluation.tokens import fill_centres
from densecl.models.targets import KMeansTokens
from densecl.registry import MODELS

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
