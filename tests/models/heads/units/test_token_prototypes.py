"""Class and patch tokens as scores of prototypes: iBOT's losses by hand."""

import pytest
import torch
from oracles import self_distilled

from densecl.models.losses import SelfDistillation
from densecl.registry import MODELS
from tests.models.heads.made import make_views
from tests.models.heads.units.test_masked_cells import BACKBONE, masked_views

K = 7
PROJECTOR = dict(type='PrototypeProjector', channels=(12, 10, 6), prototypes=K, weight_norm=True)


def objective(**kwargs):
    return dict(type='SelfDistillation', prototypes=K, teacher_temperature=0.05, **kwargs)


def head(**units):
    pairs = [dict(query=('image', q), key=('image', 1 - q), weight=0.5) for q in (0, 1)]
    pairs += [dict(query=('patches', v), key=('patches', v), weight=0.5) for v in (0, 1)]
    return dict(
        units=dict(type='TokenPrototypes', **units),
        projector=PROJECTOR,
        objective=dict(image=objective(), patches=objective(mean='counted')),
        pairs=pairs,
    )


def build(**kwargs):
    torch.manual_seed(0)
    backbone = dict(BACKBONE, hidden='token')
    model = MODELS.build(
        dict(
            type='densecl.MomentumPretrainer',
            backbone=backbone,
            heads=dict(tokens=head(**kwargs)),
            join_views=True,
        )
    ).double()
    torch.nn.init.normal_(model.backbone.mask_token)
    model.init_target()
    for part in model.heads['tokens'].objective.values():
        torch.nn.init.normal_(part.center)
    return model.train()


def both_masked(*places):
    views = masked_views(*places)
    views.masks[1], views.hidden_counts[1] = views.masks[0].flip(1, 2).clone(), views.hidden_counts[0]
    return views


def by_hand(model, views):
    """Of loops over views, images and patches."""
    part = model.heads['tokens']
    total = 0.0

    def terms(student, teacher, center):
        targets = ((teacher - center[0]) / 0.05).softmax(-1)
        return -(targets * (student / 0.1).log_softmax(-1)).sum(-1)

    with torch.no_grad():
        seen = [model.backbone(views.images[v], mask=views.mask(v)) for v in (0, 1)]
        whole = [model.target.backbone(views.images[v]) for v in (0, 1)]
        score, answer = part.projector, model.target.heads['tokens']
        for v in (0, 1):
            tokens = [score(seen[v][1].flatten(1)), answer(whole[1 - v][1].flatten(1))]
            total += 0.5 * terms(*tokens, part.objective['image'].center).mean().item()
            found = []
            for image in range(len(views.indices)):
                for place in range(9):
                    if views.masks[v].flatten(1)[image, place]:
                        cell = [x[v][0].flatten(2)[image, :, place][None] for x in (seen, whole)]
                        pair = score(cell[0]), answer(cell[1])
                        found.append(terms(*pair, part.objective['patches'].center).item())
            total += 0.5 * sum(found) / len(found)
    return total


@pytest.mark.parametrize('hidden_only', [False, True])
def test_the_loss_is_that_of_loops(hidden_only):
    model, views = build(hidden_only=hidden_only), both_masked(0, 4, 5)
    want = by_hand(model, views)
    loss = model(views, mode='loss')['loss_tokens']
    assert loss.item() == pytest.approx(want, rel=1e-9)
    loss.backward()
    assert model.backbone.mask_token.grad.abs().max() > 0


def test_images_with_unequally_many_hidden_patches():
    """As many rows an image as are hidden of any image; the others do not count."""
    model, views = build(hidden_only=True), both_masked(0, 4, 5)
    for mask in views.masks:
        mask[0] = False
        mask[2] = True
    views.hidden_counts = [(0, 9)] * 2
    want = by_hand(model, views)  # before the centre moves
    assert model(views, mode='loss')['loss_tokens'].item() == pytest.approx(want, rel=1e-9)


@pytest.mark.parametrize('hidden_only', [False, True])
def test_a_batch_in_which_nothing_is_hidden(hidden_only):
    model, views = build(hidden_only=hidden_only), both_masked(0)
    views.masks = [torch.zeros_like(mask) for mask in views.masks]
    views.hidden_counts = [(0, 0)] * 2
    logged = model(views, mode='loss')
    logged['loss_tokens'].backward()
    assert all(value.isfinite() for value in logged.values())
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_batches_of_a_step_with_unequally_many_hidden_patches():
    """The centre moves by the mean of the hidden patches of both, each counting alike."""
    model, batches = build(hidden_only=True), [both_masked(0), both_masked(0, 4, 5)]
    center = model.heads['tokens'].objective['patches'].center
    before, scores = center.clone(), []
    with torch.no_grad():
        for views in batches:
            for v in (0, 1):
                cells = model.target.backbone(views.images[v])[0].flatten(2).mT[views.masks[v].flatten(1)]
                scores.append(model.target.heads['tokens'](cells))
    for model.ends_step, views in zip((False, True), batches, strict=True):
        model(views, mode='loss')
    rows = torch.cat(scores)
    assert len(rows) == 2 * 3 * (1 + 3)
    torch.testing.assert_close(center, 0.9 * before + 0.1 * rows.mean(0), rtol=1e-10, atol=0)


def decoupled(hidden_only=False):
    """A third view whose replaced patches do not count, against the teacher's first."""
    model = build(hidden_only=hidden_only)
    part = head(hidden_only=hidden_only)
    kept = dict(query=('kept', 2), key=('kept', 0), weight=0.3, name='kept')
    part.update(pairs=[*part['pairs'], kept])
    part['objective']['kept'] = objective(mean='images', centered_over='all')
    torch.manual_seed(0)
    model.heads['tokens'] = MODELS.build(dict(type='densecl.Head', **part)).double()
    model.target.heads['tokens'].load_state_dict(model.heads['tokens'].projector.state_dict())
    for own in model.heads['tokens'].objective.values():
        torch.nn.init.normal_(own.center)
    views = both_masked(0, 4, 5)
    again = make_views(batch=3, count=3)
    replaced = torch.zeros(3, 3, 3, dtype=torch.bool)
    replaced[0, 0], replaced[1, 1:], replaced[2] = True, True, True  # of the last image nothing is kept
    views.images.append(again.images[2])
    views.boxes, views.flipped = again.boxes, again.flipped
    views.photometric = [None] * 3
    views.masks, views.hidden_counts = [*views.masks, replaced], [*views.hidden_counts, (3, 9)]
    pixels = replaced.repeat_interleave(8, 1).repeat_interleave(8, 2)[:, None]
    views.corrupted = [None, None, torch.where(pixels, views.images[2].flip(0), views.images[2])]
    return model.train(), views


@pytest.mark.parametrize('hidden_only', [False, True])
def test_kept_patches_are_compared_with_another_view_of_the_crop(hidden_only):
    """The mean over an image's patches that are kept, then over images; the teacher sees whole ones."""
    model, views = decoupled(hidden_only)
    part = model.heads['tokens']
    with torch.no_grad():
        seen, whole = model.backbone(views.corrupted[2])[0], model.target.backbone(views.images[0])[0]
        of_images = []
        for image in range(3):
            terms = []
            for y in range(3):
                for x in range(3):
                    if views.masks[2][image, y, x]:
                        continue
                    student = part.projector(seen[image, :, y, x][None])[0]
                    teacher = model.target.heads['tokens'](whole[image, :, y, x][None])[0]
                    target = ((teacher - part.objective['kept'].center[0]) / 0.05).softmax(-1)
                    terms.append(-(target * (student / 0.1).log_softmax(-1)).sum().item())
            of_images.append(sum(terms) / len(terms) if terms else 0.0)
        rows = model.target.heads['tokens'](whole.permute(0, 2, 3, 1).flatten(0, 2))
    center = part.objective['kept'].center.clone()
    want = 0.3 * sum(of_images) / 3 + by_hand(model, views)
    loss = model(views, mode='loss')
    assert loss['loss_tokens'].item() == pytest.approx(want, rel=1e-9)
    assert loss['tokens_kept'].item() == pytest.approx(sum(of_images) / 3, rel=1e-9)
    torch.testing.assert_close(part.objective['kept'].center, 0.9 * center + 0.1 * rows.mean(0))


def test_the_teacher_does_not_encode_the_view_that_is_mixed():
    model, views = decoupled()
    shapes, projected = [], []
    model.target.backbone.register_forward_hook(lambda m, args, out: shapes.append(len(args[0])))
    model.target.heads['tokens'].prototypes.register_forward_hook(
        lambda m, args, out: projected.append(len(args[0]))
    )
    model(views, mode='loss')['loss_tokens'].backward()
    assert sum(shapes) == 2 * 3 and sum(projected) == 2 * 3 * (1 + 9)  # patches of both kinds once


def test_only_hidden_patches_are_projected():
    rows = []
    for hidden_only in (False, True):
        model, views = build(hidden_only=hidden_only), both_masked(0, 4)
        model.target.heads['tokens'].prototypes.register_forward_hook(
            lambda m, args, out: rows.append(len(args[0]))
        )
        model(views, mode='loss')
    assert rows == [2 * 3 * (1 + 9), 2 * 3 * (1 + 2)]  # class tokens and patches of two views of three images


@pytest.mark.parametrize('hidden_only', [False, True])
def test_dinov2_shares_hidden_patches_of_both_crops_out(hidden_only):
    """Means of crops, one of them without a mask; Sinkhorn of the hidden patches of all crops."""
    model, views = build(hidden_only=hidden_only), both_masked(0, 4, 5)
    views.masks[1][1], views.masks[0][2, :2] = False, True
    views.hidden_counts = [(3, 7), (0, 3)]
    part = model.heads['tokens']
    part.pairs = part.pairs[2:]
    part.objective['patches'] = SelfDistillation(K, 0.1, 0.05, mean='images', centering='sinkhorn').double()
    students, teachers = [], []
    with torch.no_grad():
        for v in (0, 1):
            hidden = views.masks[v].flatten(1)
            seen = model.backbone(views.images[v], mask=views.mask(v))
            whole = model.target.backbone(views.images[v])
            students.append(part.projector(seen[0].flatten(2).mT[hidden]))
            teachers.append(model.target.heads['tokens'](whole[0].flatten(2).mT[hidden]))
    codes = self_distilled.sinkhorn(torch.cat(teachers), 0.05)
    masks = torch.cat([mask.flatten(1) for mask in views.masks])
    want = self_distilled.masked_token_loss(torch.cat(students), codes, masks, 0.1)
    assert model(views, mode='loss')['loss_tokens'].item() == pytest.approx(want.item(), rel=1e-9)


def test_what_wants_all_patches_is_not_given_the_hidden_ones_alone():
    def of(hidden_only):
        config = head(hidden_only=hidden_only)
        config['objective']['patches'].update(centered_over='all')
        return MODELS.build(dict(type='densecl.Head', **config))

    of(False)
    with pytest.raises(ValueError, match='objective=SelfDistillation needs cells of a grid'):
        of(True)


def test_a_branch_of_its_own_must_see_what_is_hidden():
    with pytest.raises(ValueError, match='units=TokenPrototypes want to know what a mask hides'):
        MODELS.build(
            dict(
                type='densecl.SharedPretrainer',
                backbone=dict(BACKBONE, hidden='token'),
                heads=dict(tokens=head()),
            )
        )


def test_units_of_which_some_do_not_count_are_not_interpolated():
    config = dict(
        head(),
        pairs=[dict(query=('kept', 2), key=('kept', 0))],
        objective=objective(),
        matching='densecl.SharedGrid',
    )
    with pytest.raises(ValueError, match="SharedGrid needs units whose place in the image .*'kept'"):
        MODELS.build(dict(type='densecl.Head', **config))
