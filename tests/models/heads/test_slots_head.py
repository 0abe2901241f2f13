"""SlotCon's head against the published formulas, with torchvision's RoIAlign for the alignment."""

import pytest
import torch
import torch.nn.functional as F
from torchvision.ops import roi_align

from densecl.models.heads import SlotHead
from densecl.models.pretrainers import Branch
from densecl.registry import MODELS
from densecl.structures import Views

SLOTS, SIZE = 12, (5, 6)
BOXES = [  # of both views: apart in scale, contained, identical, touching, far away
    [(0, 0, 50, 40), (20, 0, 60, 60), (5, 5, 45, 35), (0, 0, 20, 20), (0, 0, 10, 10)],
    [(10, 5, 90, 80), (30, 10, 45, 20), (5, 5, 45, 35), (20, 0, 40, 20), (50, 50, 70, 80)],
]
FLIPPED = [(False, True, True, False, True), (True, False, True, True, False)]


def make_head(predictor=True, **objective) -> SlotHead:
    head = SlotHead(
        projector=dict(type='densecl.SlotProjector', channels=(3, 8, 7), slots=SLOTS),
        predictor=dict(type='densecl.MLP', channels=(7, 9, 7)) if predictor else None,
        objective=dict(type='densecl.SlotContrast', slots=SLOTS, **objective),
    )
    return head.double()


def make_views(images: int = 5) -> Views:
    """``images`` of the five pairs of boxes above; the last two have no overlap."""
    return Views(
        images=[torch.randn(images, 3, *SIZE, dtype=torch.float64) for _ in range(2)],
        boxes=[torch.tensor(b, dtype=torch.float32)[:images] for b in BOXES],
        flipped=[torch.tensor(f)[:images] for f in FLIPPED],
        source_sizes=torch.full((images, 2), 100.0),
        indices=torch.arange(images),
        paths=[''] * images,
        photometric=[None, None],
    )


def run(head, views, target=None):
    """Loss and diagnostics on the images as they are, the target with a projector of its own."""
    online, other = (Branch(lambda x: (x,), views) for _ in range(2))
    return head.loss(online, other, views, target or head.projector)


def aligned(scores, views, view):
    """Overlap in shares of the view, mirrored where it was; RoIAlign; mirrored back."""
    boxes, mine = torch.stack(views.boxes).double(), views.boxes[view].double()
    shared = torch.cat([boxes[:, :, :2].amax(0), boxes[:, :, 2:].amin(0)], 1)
    side = (mine[:, 2:] - mine[:, :2]).repeat(1, 2)
    roi = (shared - mine[:, :2].repeat(1, 2)) / side
    flip = views.flipped[view]
    mirrored = torch.stack([1 - roi[:, 2], roi[:, 1], 1 - roi[:, 0], roi[:, 3]], 1)
    roi = torch.where(flip[:, None], mirrored, roi)
    height, width = scores.shape[2:]
    roi = roi * torch.tensor([width, height, width, height])
    good = (shared[:, 2:] > shared[:, :2]).all(1)
    roi = torch.where(good[:, None], roi, torch.tensor([0.0, 0, 1, 1]))  # anything legal
    read = roi_align(scores, [r[None] for r in roi], (height, width), aligned=True)
    return torch.where(flip[:, None, None, None], read.flip(-1), read), good


def reference(head, views, teacher, center):
    """Both terms of the published loss, mean of both directions, image by image."""
    grouped = []
    for projector in (head.projector, teacher):
        grouped.append([])
        for image in views.images:
            x = projector.mlp(image)
            slots = F.normalize(projector.slots, dim=1)
            dots = torch.einsum('kd,bdhw->bkhw', slots, F.normalize(x, dim=1))
            share = (dots / 0.07).softmax(1) + 1e-6
            share = share / share.sum((2, 3), keepdim=True)
            grouped[-1].append((torch.einsum('bdhw,bkhw->bkd', x, share), dots))
    total = 0.0
    for q, k in ((0, 1), (1, 0)):
        (slots_q, dots_q), (slots_k, dots_k) = grouped[0][q], grouped[1][k]
        (read_q, good), (read_k, _) = aligned(dots_q, views, q), aligned(dots_k, views, k)
        targets = ((read_k - center.view(1, -1, 1, 1)) / 0.07).softmax(1).detach()
        entropies = -(targets * (read_q / 0.1).log_softmax(1)).sum(1).mean((1, 2))
        group = entropies[good].mean()
        keys, names, queries = [], [], []
        for b in range(len(good)):
            mine, theirs = ({*dots[b].flatten(1).argmax(0).tolist()} for dots in (dots_q, dots_k))
            for slot in sorted(theirs):
                keys.append(slots_k[b, slot].detach())
                names.append((b, slot))
            queries += [(b, s) for s in sorted(mine & theirs) if good[b]]
        predictions = head.predict(torch.stack([slots_q[b, s] for b, s in queries]))
        logits = F.normalize(predictions, dim=1) @ F.normalize(torch.stack(keys), dim=1).T / 0.2
        labels = torch.tensor([names.index(query) for query in queries])
        contrast = F.cross_entropy(logits, labels) * 0.4
        total = total + (0.5 * group + 0.5 * contrast) / 2
    return total


@pytest.mark.parametrize('images', [2, 5])
def test_loss_and_gradient_equal_the_published_ones(images):
    head, views = make_head(), make_views(images)
    teacher = make_head().projector
    center = torch.randn(1, SLOTS, dtype=torch.float64) * 0.1
    head.objective.center.copy_(center)
    loss = run(head, views, teacher)['loss']
    want = reference(head, views, teacher, center)
    torch.testing.assert_close(loss, want, rtol=1e-6, atol=1e-8)  # boxes are float32
    parameters = list(head.parameters())
    got = torch.autograd.grad(loss, parameters)
    for mine, theirs in zip(got, torch.autograd.grad(want, parameters), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-8)


def test_centre_moves_after_its_use_and_by_both_whole_views():
    head, views = make_head(center_momentum=0.75), make_views()
    run(head.eval(), views)
    assert head.objective.center.count_nonzero() == 0
    before = run(head.train(), views)['loss']
    scores = [head.projector.group(head.projector(x))[1] for x in views.images]
    want = torch.cat(scores).mean((0, 2, 3)) * 0.25
    torch.testing.assert_close(head.objective.center[0], want)
    assert run(head, views)['loss'] != before  # only now it counts


def test_images_without_overlap_are_left_out_and_counted():
    head, views = make_head(), make_views(5)
    with torch.no_grad():
        result = run(head, views)
        assert result['no_overlap'] == 2
    views.images[0].requires_grad_()
    run(head, views)['loss'].backward()
    reached = views.images[0].grad.flatten(1).abs().sum(1) > 0
    assert reached.tolist() == [True, True, True, False, False]


@pytest.mark.parametrize('mlp', [dict(), dict(norm=True)])
def test_nothing_in_common_costs_nothing_but_keeps_the_graph(mlp):
    head, views = make_head(), make_views(5)
    head.predictor = MODELS.build(dict(type='densecl.MLP', channels=(7, 9, 7), **mlp)).double()
    views.boxes = [torch.tensor([[0.0, 0, 9, 9]] * 5), torch.tensor([[9.0, 0, 18, 9]] * 5)]
    result = run(head.train(), views)
    assert result['loss'] == 0 and result['no_overlap'] == 5 and result['common'] == 0
    result['loss'].backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None and not parameter.grad.any(), name


def test_identical_views_and_weights_share_all_their_slots():
    head, views = make_head(predictor=False), make_views(3)
    views.images[1], views.boxes[1], views.flipped[1] = views.images[0], views.boxes[0], views.flipped[0]
    result = run(head, views)
    assert result['common'] == result['active'] and result['no_overlap'] == 0
    scores = head.projector.group(head.projector(views.images[0]))[1]
    used = {int(k) for k in scores.flatten(2).argmax(1).flatten()}
    assert result['occupancy'] == pytest.approx(len(used) / SLOTS)
    assert 0 < result['cell_entropy'] <= result['usage_entropy'] <= 1
    assert head.embeddings.shape == (2 * 3 * 30, 7)


def test_a_mirrored_view_costs_the_same():
    """Scores of a view and of its mirror image with the flag set agree cell by cell."""
    head, views = make_head().eval(), make_views(3)
    plain = run(head, views)['loss']
    views.images[1] = views.images[1].flip(-1)
    assert abs(run(head, views)['loss'] - plain) > 1e-3
    views.flipped[1] = ~views.flipped[1]
    torch.testing.assert_close(run(head, views)['loss'], plain, rtol=1e-6, atol=1e-8)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match='slots=12, but the projector has 9'):
        head = make_head()
        head.projector = MODELS.build(
            dict(type='densecl.SlotProjector', channels=(3, 7), slots=9)
        ).double()
        run(head, make_views())
    with pytest.raises(ValueError, match='at least 2, got 1'):
        MODELS.build(dict(type='densecl.SlotProjector', channels=(3, 7), slots=1))
    with pytest.raises(ValueError, match='group_weight must be in'):
        make_head(group_weight=1.5)
    with pytest.raises(ValueError, match='teacher_temperature must be > 0'):
        make_head(teacher_temperature=0.0)
