"""What holds for every pretrainer: branches, the order of heads, warm-up, memory, names in the log."""

import pytest
import torch

from densecl.models.pretrainers import Branch, MomentumPretrainer, SharedPretrainer
from densecl.models.pretrainers.base import as_levels
from tests.models.heads.made import make_views

RESNET = dict(type='TorchvisionResNet', arch='resnet18')
IMAGE = dict(
    projector=dict(type='MLP', channels=(512, 8)),
    objective=dict(type='InfoNCE', queue=0, batch='views'),
    pairs=((0, 1), (1, 0)),
)
QUEUED = dict(IMAGE, objective=dict(type='InfoNCE', queue=12, dim=8))
SLOTCON = dict(
    units='Groups',
    projector=dict(type='SlotProjector', channels=(512, 8), slots=6),
    predictor=dict(type='MLP', channels=(8, 8)),
    matching=dict(cells='SharedGrid', slots=dict(type='SameId', overlap=True)),
    objective=dict(
        cells=dict(type='SelfDistillation', prototypes=6, mean='counted'),
        slots=dict(type='InfoNCE', queue=0, batch='units', mean='counted'),
    ),
    pairs=[((kind, q), (kind, k)) for kind in ('cells', 'slots') for q, k in ((0, 1), (1, 0))],
)
DENSE = dict(
    units='Cells',
    projector=dict(type='ConvMLP', channels=(512, 8)),
    matching='MostSimilar',
    objective='Cosine',
    stop_gradient=True,
)


def build(cls, heads, **kwargs):
    torch.manual_seed(0)
    model = cls(backbone=RESNET, heads=heads, **kwargs).double().train()
    if cls is MomentumPretrainer:
        model.init_target()
    return model


def gradients(model, views):
    losses = model.loss(views)
    sum(value for name, value in losses.items() if name.startswith('loss_')).backward()
    return {name: p.grad for name, p in model.named_parameters() if p.requires_grad}


# --- branches -----------------------------------------------------------------------------------------------


def counted(weight, views, **kwargs):
    """A branch that multiplies images by a weight, and what it was asked to encode."""
    calls = []
    return Branch(lambda x: calls.append(x) or (x * weight,), views, **kwargs), calls


def test_a_branch_encodes_each_view_once_and_only_if_asked():
    views, weight = make_views(), torch.ones((), requires_grad=True)
    branch, calls = counted(weight, views)
    assert branch[1] is branch[1] and len(calls) == 1 and calls[0] is views.images[1]
    apart = branch.without_gradient()
    assert not apart[1][0].requires_grad and branch[1][0].requires_grad and len(calls) == 2


def test_a_branch_keeps_nothing_without_gradient_where_gradients_are_wanted():
    views, weight = make_views(), torch.ones((), dtype=torch.float64, requires_grad=True)
    branch, calls = counted(weight, views)
    with torch.no_grad():
        first = branch[0][0]
    assert first.requires_grad and branch[0][0] is first and len(calls) == 1
    first.sum().backward()
    torch.testing.assert_close(weight.grad, views.images[0].sum())
    target, _ = counted(weight, views, gradient=False)
    assert not target[0][0].requires_grad
    with torch.no_grad():
        evaluated, _ = counted(weight, views)
    assert not evaluated.gradient and not evaluated[0][0].requires_grad


# --- heads on one pair --------------------------------------------------------------------------------------


@pytest.mark.parametrize('cls', [SharedPretrainer, MomentumPretrainer])
def test_gradients_do_not_depend_on_the_order_of_heads(cls):
    """A term that reads keys or support without gradient leaves the others theirs, wherever it stands."""
    heads = dict(slots=SLOTCON, image=IMAGE, dense=DENSE)
    views, found = make_views(batch=4, side=64), []
    state = build(cls, heads).state_dict()
    for order in ('slots', 'image', 'dense'), ('image', 'dense', 'slots'), ('dense', 'slots', 'image'):
        model = build(cls, {name: heads[name] for name in order})
        model.load_state_dict(state)
        found.append(gradients(model, views))
    for name, gradient in found[0].items():
        assert gradient is not None, name
        if name.startswith('backbone'):
            assert gradient.abs().max() > 0, name
        for other in found[1:]:
            torch.testing.assert_close(other[name], gradient, rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize('cls', [SharedPretrainer, MomentumPretrainer])
def test_the_sum_of_heads_has_the_sum_of_their_gradients(cls):
    """On a pair of its own each head has the same loss as beside the others."""
    heads = dict(slots=SLOTCON, image=QUEUED, dense=DENSE)
    views, model = make_views(batch=4, side=64), build(cls, heads)
    state = {k: v.clone() for k, v in model.state_dict().items()}
    together, total = gradients(model, views), 0
    for name, head in heads.items():
        alone = build(cls, {name: head})
        alone.load_state_dict({k: v for k, v in state.items() if k in alone.state_dict()})
        total = total + gradients(alone, views)['backbone.conv1.weight']
    torch.testing.assert_close(together['backbone.conv1.weight'], total, rtol=1e-6, atol=1e-10)


# --- warm-up ------------------------------------------------------------------------------------------------


def test_a_nan_of_a_head_in_warm_up_stays_there():
    """0 times NaN is NaN: at weight 0 the loss is not in the sum, yet every parameter gets a gradient."""
    dense = dict(DENSE, objective=QUEUED['objective'], warmup_steps=2)
    model = build(SharedPretrainer, dict(image=IMAGE, dense=dense))
    model.heads.dense.objective.queue.keys.fill_(torch.nan)
    views = make_views(batch=4, side=64)
    losses = model.loss(views)
    assert losses['loss_dense'] == 0 and losses['loss_dense'].requires_grad
    assert losses['dense_value'].isnan() and not losses['dense_value'].requires_grad
    assert 'image_value' not in losses
    (losses['loss_image'] + losses['loss_dense']).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert all(not p.grad.any() for p in model.heads.dense.parameters())
    assert all(p.grad.any() for p in model.heads.image.parameters())
    model.set_steps(2)
    after = model.loss(views)
    assert after['loss_dense'].isnan() and 'dense_value' not in after


def test_warm_up_logs_the_value_and_gives_all_parameters_a_zero_gradient():
    model = build(SharedPretrainer, dict(dense=dict(DENSE, warmup_steps=1, loss_weight=3.0))).eval()
    views = make_views(batch=4, side=64)
    early = model.loss(views)
    early['loss_dense'].backward()
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())
    model.after_optimizer_step()
    late = model.loss(views)
    torch.testing.assert_close(late['loss_dense'], 3 * early['dense_value'])
    assert early['dense_value'] != 0


# --- memory and names ---------------------------------------------------------------------------------------


def test_queues_move_after_all_heads_and_in_training_only():
    model = build(MomentumPretrainer, dict(first=QUEUED, second=QUEUED))
    views = make_views(batch=4, side=64)
    model.heads.second.load_state_dict(model.heads.first.state_dict())
    model.target.heads['second'].load_state_dict(model.target.heads['first'].state_dict())
    losses = model.loss(views)
    assert losses['loss_first'] == losses['loss_second']
    assert [int(queue.enqueued) for queue in model.queues().values()] == [8, 8]
    model.eval().loss(views)
    assert [int(queue.enqueued) for queue in model.queues().values()] == [8, 8]


def test_what_is_logged_and_watched_has_the_head_s_name():
    model = build(MomentumPretrainer, dict(image=QUEUED, slots=SLOTCON))
    losses = model.loss(make_views(batch=4, side=64))
    slots = ('pos_sim', 'matched', 'occupancy', 'active', 'teacher_entropy')
    assert {'loss_image', 'image_pos_sim', 'image_top1', 'loss_slots'} <= set(losses)
    assert {f'slots_{name}' for name in slots} <= set(losses)
    assert all(not v.requires_grad for name, v in losses.items() if not name.startswith('loss_'))
    assert list(model.watched) == ['image', 'slots_cells', 'slots_slots']
    assert model.watched['image'][0].shape == (4, 8) and list(model.queues()) == ['image']


@pytest.mark.parametrize(
    ('heads', 'message'),
    [
        ({}, 'model.heads is empty'),
        (dict(my_loss=IMAGE), "model.heads: 'my_loss' must not contain 'loss'"),
        (dict(a=dict(IMAGE, matching='ByLocation')), 'model.heads.a: matching=ByLocation needs cells'),
        (dict(b=dict(IMAGE, pairs=())), 'model.heads.b: pairs: give every pair a weight'),
    ],
)
def test_errors_name_the_head(heads, message):
    with pytest.raises(ValueError, match=f'^{message}'):
        SharedPretrainer(backbone=RESNET, heads=heads)


# --- texts --------------------------------------------------------------------------------------------------

TEXT = dict(type='TextTransformer', vocab_size=9, context_length=4, width=8, depth=1, heads=2)
PIXELS = dict(projector=dict(type='MLP', channels=(8, 8)), objective='Reconstruction', pairs=((0, 0),))


def test_texts_and_photos_are_not_mixed():
    tokens = dict(type='TextPreprocessor')
    contrast = dict(IMAGE, projector=None)
    assert SharedPretrainer(TEXT, dict(text=contrast), data_preprocessor=tokens)
    with pytest.raises(ValueError, match='TextTransformer reads texts.*take dict.type=.TextPreprocessor'):
        SharedPretrainer(TEXT, dict(text=contrast))
    pixels = dict(PIXELS, target=dict(type='Pixels', patch=1))
    with pytest.raises(ValueError, match='model.heads.text: target=Pixels is made of photos'):
        SharedPretrainer(TEXT, dict(text=pixels), data_preprocessor=tokens)
    views = make_views(2)
    views.images = [torch.zeros(2, 4, dtype=torch.int64)] * 2
    model = SharedPretrainer(RESNET, dict(image=IMAGE))
    with pytest.raises(ValueError, match='inputs.images.0. are tokens of texts, not photos'):
        model.data_preprocessor(dict(inputs=views))


def test_a_class_path_without_a_mask_is_refused():
    """Its blocks would have no gradient, for which data-parallel training waits."""
    sizes = dict(img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=2)
    vit = dict(type='TimmViT', arch='beit_base_patch16_224', hidden='token', class_path=(1, 1), **sizes)
    model = SharedPretrainer(vit, dict(image=dict(IMAGE, projector=None)))
    with pytest.raises(ValueError, match='model.backbone.class_path: .* no view has one'):
        model.loss(make_views(2, side=32))


def test_levels_may_be_named():
    """As of torchvision's and Hugging Face's networks."""
    maps, token = torch.zeros(2, 3, 4, 4), torch.zeros(2, 3)
    assert [x.shape for x in as_levels({'a': maps, 'b': (maps, token)})] == [maps.shape] * 2 + [(2, 3, 1, 1)]
    with pytest.raises(ValueError, match=r'model.backbone returns a tensor \(2, 16, 3\); expected maps'):
        as_levels([maps, torch.zeros(2, 16, 3)])
    with pytest.raises(ValueError, match='model.backbone returns NoneType'):
        as_levels(None)
