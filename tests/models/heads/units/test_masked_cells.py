"""Units that a mask hides, in heads and in pretrainers."""

import copy

import pytest
import torch

from densecl.models.backbones.sparse import encode_sparse
from densecl.models.matching import SharedGrid
from densecl.registry import MODELS
from densecl.structures import Place, Units
from tests.models.heads.made import make_views
from tests.oracles.masked import masked_pixels

BACKBONE = dict(type='TimmViT', img_size=24, patch_size=8, embed_dim=12, depth=2, num_heads=2)
RESNET = dict(type='TorchvisionResNet', arch='resnet18')
DECODER = dict(
    type='TransformerDecoder', in_channels=12, out_channels=192, grid=3, embed_dim=8, depth=1, num_heads=2
)
PIXELS = dict(
    units='DecodedCells',
    projector=DECODER,
    target=dict(type='Pixels', patch=8, normalise=True),
    objective='Reconstruction',
    pairs=((0, 0),),
)


def masked_views(*places, batch=3, count=2, **kwargs):
    """Of each image other patches are hidden, equally many."""
    views = make_views(batch=batch, count=count, **kwargs)
    hidden = torch.zeros(batch, 9, dtype=torch.bool)
    hidden[:, list(places)] = True
    hidden[1] = hidden[0].flip(0)
    views.masks = [hidden.view(batch, 3, 3), *[None] * (count - 1)]
    views.hidden_counts = [(len(places), len(places)), *[None] * (count - 1)]
    return views


def build(heads, kind='SharedPretrainer', hidden='dropped', backbone=None, **kwargs):
    torch.manual_seed(0)
    backbone = backbone or dict(BACKBONE, hidden=hidden)
    model = MODELS.build(dict(type=f'densecl.{kind}', backbone=backbone, heads=heads, **kwargs)).double()
    model.init_target()
    return model.train()


def test_mae_is_its_decoder_against_the_hidden_pixels():
    model, views = build(dict(pixels=PIXELS)), masked_views(0, 1, 4, 7, 8)
    loss = model(views, mode='loss')['loss_pixels']
    mask = views.mask(0)
    prediction = model.heads['pixels'].projector(model.backbone(views.images[0], mask=mask), mask)
    prediction = prediction.flatten(2).transpose(1, 2)
    want = masked_pixels(prediction, views.images[0], views.masks[0].flatten(1), 8, True)
    assert loss.item() == pytest.approx(want, rel=1e-9)
    loss.backward()
    assert all(p.grad is not None for n, p in model.named_parameters() if p.requires_grad), 'all are trained'


def test_a_target_of_its_own_is_not_trained_and_stays_in_eval_mode():
    model = build(dict(pixels=PIXELS))
    assert not model.heads['pixels'].target.training
    assert not list(model.heads['pixels'].target.parameters())


def test_masked_cells_count_alone_and_the_target_sees_them():
    head = dict(
        units=dict(type='MaskedCells', level=-2),
        objective=dict(type='Reconstruction', mean='images'),
        pairs=((0, 0),),
    )
    model, views = build(dict(tokens=head), 'MomentumPretrainer', 'token'), masked_views(2, 3)
    torch.nn.init.normal_(model.backbone.mask_token)
    loss = model(views, mode='loss')['loss_tokens']
    student = model.backbone(views.images[0], mask=views.mask(0))[0].flatten(2)
    teacher = model.target.backbone(views.images[0])[0].flatten(2)
    errors = (student - teacher).square().mean(1)
    assert loss.item() == pytest.approx(errors[views.masks[0].flatten(1)].mean().item(), rel=1e-9)


def test_a_convolutional_student_is_sparse_and_its_target_plain():
    """The momentum copy is the same network, and no mask reaches it."""
    head = dict(units='MaskedCells', objective='Reconstruction', pairs=((0, 0),))
    model = build(dict(tokens=head), 'MomentumPretrainer', backbone=RESNET)
    views = masked_views(2, 3, side=96)
    student, teacher = copy.deepcopy(model.backbone), copy.deepcopy(model.target.backbone)
    loss = model(views, mode='loss')['loss_tokens']
    hidden = views.masks[0]
    student, teacher = encode_sparse(student, views.images[0], hidden)[0], teacher(views.images[0])[0]
    errors = (student - teacher).square().mean(1)
    assert not student.permute(0, 2, 3, 1)[hidden].any() and teacher.permute(0, 2, 3, 1)[hidden].any()
    assert loss.item() == pytest.approx(errors[hidden].mean().item(), rel=1e-9)


def test_heads_share_the_masked_pass_and_views_without_mask_are_whole():
    image = dict(projector=dict(type='MLP', channels=(12, 6)), objective='Cosine', pairs=((0, 1),))
    model, views = build(dict(pixels=PIXELS, image=image)), masked_views(0, 1)
    calls = []
    model.backbone.register_forward_hook(lambda m, args, kwargs, out: calls.append(kwargs), with_kwargs=True)
    model(views, mode='loss')
    assert [bool(kwargs) for kwargs in calls] == [True, False]


@pytest.mark.parametrize('both', [False, True])
def test_joined_views_are_masked_each_by_its_own(both):
    """Two views in one pass where both have a mask; else each alone."""
    head = dict(PIXELS, pairs=((0, 0), (1, 1)) if both else ((0, 0),))
    image = dict(projector=dict(type='MLP', channels=(12, 6)), objective='Cosine', pairs=((0, 1),))
    views = masked_views(0, 1)
    if both:
        views.masks[1], views.hidden_counts[1] = views.masks[0].flip(1), (2, 2)
    joined, alone = (build(dict(pixels=head, image=image), join_views=join) for join in (True, False))
    losses = [model(views, mode='loss') for model in (joined, alone)]
    for name in ('loss_pixels', 'loss_image'):
        torch.testing.assert_close(losses[0][name], losses[1][name])


def test_what_is_refused():
    model = build(dict(pixels=PIXELS))
    with pytest.raises(ValueError, match='view 0 has no mask: give its recipe one'):
        model(make_views(), mode='loss')
    views = masked_views(0)
    views.masks[0] = torch.zeros(3, 6, 6, dtype=torch.bool)
    with pytest.raises(ValueError, match=r'TimmViT: a mask of \(6, 6\) patches for \(3, 3\)'):
        model(views, mode='loss')
    with pytest.raises(ValueError, match="TimmViT hides nothing: set its hidden='token' or 'dropped'"):
        build(dict(pixels=PIXELS), hidden=None)(masked_views(0), mode='loss')
    with pytest.raises(ValueError, match="target must be None, 'start', 'features' or the config"):
        build(dict(pixels=dict(PIXELS, target='pixels')))


@pytest.mark.parametrize('field', ['projector', 'target'])
def test_decoded_cells_without_decoder_or_answer(field):
    head = {k: v for k, v in PIXELS.items() if k != field}
    with pytest.raises(
        ValueError, match=f'^model.heads.pixels: units=DecodedCells needs a {field} of the head'
    ):
        build(dict(pixels=head))


def test_nobody_sees_what_is_hidden_of_a_shared_network():
    head = dict(units='MaskedCells', objective='Reconstruction', pairs=((0, 0),))
    with pytest.raises(
        ValueError, match='^model.heads.cells: units=MaskedCells .* a SharedPretrainer does not'
    ):
        build(dict(cells=head))


def test_hidden_cells_are_interpolated_among_themselves():
    """On the view's own grid each place is a cell; on a finer one those between two kinds do not count."""
    found = {}
    for name, rule in {'cells': 'SameRow', 'places': 'SharedGrid'}.items():
        head = dict(units='MaskedCells', matching=rule, objective='Cosine', pairs=((0, 0),))
        backbone = dict(BACKBONE, hidden='token', output_cls_token=False)
        model = build(dict(cells=head), 'MomentumPretrainer', 'token', backbone)
        found[name] = model(masked_views(0, 4), mode='loss')['loss_cells']
    torch.testing.assert_close(found['places'], found['cells'], rtol=1e-6, atol=0)
    hidden = masked_views(0).masks[0].double()
    place = Place(torch.tensor([[0.0, 0, 9, 9]] * 3), hidden.new_zeros(3).bool(), None, (9, 9), (3, 3))
    units = Units(torch.zeros(3, 9, 2), valid=hidden.flatten(1) > 0, place=place)
    valid = SharedGrid(size=6)(units, units, None).valid.view(3, 6, 6)
    # A corner cell has four places of 0.5 cells; the outermost continues, the others see their neighbours.
    assert valid[0].nonzero().tolist() == [[0, 0]] and valid[1].nonzero().tolist() == [[5, 5]]
