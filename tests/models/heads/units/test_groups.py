"""Groups as units: SlotCon against the published formulas, with torchvision's RoIAlign for the alignment."""

import pytest
import torch
import torch.nn.functional as F
from torchvision.ops import roi_align

from densecl.models.pretrainers import Branch
from densecl.registry import MODELS
from densecl.structures import Batch
from tests.models.heads.made import build, views_of

SLOTS, SIZE = 12, (5, 6)
BOXES = [  # of both views: apart in scale, contained, identical, touching, far away
    [(0, 0, 50, 40), (20, 0, 60, 60), (5, 5, 45, 35), (0, 0, 20, 20), (0, 0, 10, 10)],
    [(10, 5, 90, 80), (30, 10, 45, 20), (5, 5, 45, 35), (20, 0, 40, 20), (50, 50, 70, 80)],
]
FLIPPED = [(False, True, True, False, True), (True, False, True, True, False)]
CONTRAST = dict(
    type='InfoNCE', temperature=0.2, queue=0, batch='units', times_temperature=True, mean='counted'
)


def make_head(predictor=True, slots=SLOTS, **grouping):
    """SlotCon: half of each term, the contrast times 2 t, summed over both directions."""
    options = dict(prototypes=SLOTS, teacher_temperature=0.07, mean='counted')
    pairs = [
        dict(query=(kind, q), key=(kind, k), weight=weight, name=name)
        for kind, weight, name in (('cells', 0.5, 'grouping'), ('slots', 1.0, 'contrast'))
        for q, k in ((0, 1), (1, 0))
    ]
    return build(
        'Groups',
        dict(cells=dict(type='SelfDistillation', **options | grouping), slots=CONTRAST),
        dict(cells='SharedGrid', slots=dict(type='SameId', overlap=True)),
        projector=dict(type='densecl.SlotProjector', channels=(3, 8, 7), slots=slots),
        predictor=dict(type='densecl.MLP', channels=(7, 9, 7)) if predictor else None,
        pairs=pairs,
    )


def make_views(images=5):
    """``images`` of the five pairs of boxes above; the last two have no overlap."""
    return views_of(
        [torch.randn(images, 3, *SIZE, dtype=torch.float64) for _ in range(2)],
        [torch.tensor(b, dtype=torch.float32)[:images] for b in BOXES],
        [torch.tensor(f)[:images] for f in FLIPPED],
    )


def run(head, views, target=None):
    """A step on the images as they are, the target with a projector of its own: the result."""
    online, other = (Branch(lambda x: (x,), views, gradient=gradient) for gradient in (True, False))
    batch = Batch.of(views)
    result = head.loss(online, other, views, batch, target or head.projector)
    if head.training:
        head.remember(result.keys, batch)
    return result


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
    """The published loss, and the mean over directions of both its terms; image by image."""
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
    groups, contrasts = [], []
    for q, k in ((0, 1), (1, 0)):
        (slots_q, dots_q), (slots_k, dots_k) = grouped[0][q], grouped[1][k]
        (read_q, good), (read_k, _) = aligned(dots_q, views, q), aligned(dots_k, views, k)
        targets = ((read_k - center.view(1, -1, 1, 1)) / 0.07).softmax(1).detach()
        entropies = -(targets * (read_q / 0.1).log_softmax(1)).sum(1).mean((1, 2))
        groups.append(entropies[good].mean())
        keys, names, queries = [], [], []
        for b in range(len(good)):
            mine, theirs = ({*dots[b].flatten(1).argmax(0).tolist()} for dots in (dots_q, dots_k))
            for slot in sorted(theirs):
                keys.append(slots_k[b, slot].detach())
                names.append((b, slot))
            queries += [(b, s) for s in sorted(mine & theirs) if good[b]]
        predictions = head.predictor(torch.stack([slots_q[b, s] for b, s in queries]))
        logits = F.normalize(predictions, dim=1) @ F.normalize(torch.stack(keys), dim=1).T / 0.2
        labels = torch.tensor([names.index(query) for query in queries])
        contrasts.append(F.cross_entropy(logits, labels) * 0.4)
    return 0.5 * sum(groups) + 0.5 * sum(contrasts), sum(groups) / 2, sum(contrasts) / 2


@pytest.mark.parametrize('images', [2, 5])
def test_slotcon_s_loss_and_gradient_equal_the_published_ones(images):
    head, views = make_head(), make_views(images)
    teacher = make_head().projector.requires_grad_(False)
    center = torch.randn(1, SLOTS, dtype=torch.float64) * 0.1
    head.objective.cells.center.copy_(center)
    result = run(head, views, teacher)
    want, grouping, contrast = reference(head, views, teacher, center)
    close = dict(rtol=1e-6, atol=1e-8)  # boxes are float32
    torch.testing.assert_close(result.loss, want, **close)
    torch.testing.assert_close(result.log['grouping'], grouping.detach(), **close)
    torch.testing.assert_close(result.log['contrast'], contrast.detach() / 2, **close)
    parameters = list(head.parameters())
    got = torch.autograd.grad(result.loss, parameters)
    for mine, theirs in zip(got, torch.autograd.grad(want, parameters), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-8)


def test_centre_moves_after_its_use_and_by_both_whole_views():
    head, views = make_head(center_momentum=0.75), make_views()
    center = head.objective.cells.center
    run(head.eval(), views)
    assert center.count_nonzero() == 0
    before = run(head.train(), views).loss
    scores = [head.projector.group(head.projector(x))[1] for x in views.images]
    want = torch.cat(scores).mean((0, 2, 3)) * 0.25
    torch.testing.assert_close(center[0], want)
    assert run(head, views).loss != before  # only now it counts


def test_images_without_overlap_are_left_out_and_counted():
    head, views = make_head(), make_views(5)
    with torch.no_grad():
        assert run(head, views).log['matched_grouping'].item() == pytest.approx(3 / 5)
    views.images[0].requires_grad_()
    run(head, views).loss.backward()
    reached = views.images[0].grad.flatten(1).abs().sum(1) > 0
    assert reached.tolist() == [True, True, True, False, False]


@pytest.mark.parametrize('mlp', [dict(), dict(norm=True)])
def test_nothing_in_common_costs_nothing_but_keeps_the_graph(mlp):
    head, views = make_head(), make_views(5)
    head.predictor = MODELS.build(dict(type='densecl.MLP', channels=(7, 9, 7), **mlp)).double()
    views.boxes = [torch.tensor([[0.0, 0, 9, 9]] * 5), torch.tensor([[9.0, 0, 18, 9]] * 5)]
    result = run(head.train(), views)
    assert result.loss == 0 and result.log['matched_grouping'] == result.log['matched_contrast'] == 0
    result.loss.backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None and not parameter.grad.any(), name


def test_identical_views_and_weights_share_all_their_slots():
    head, views = make_head(predictor=False), make_views(3)
    views.images[1], views.boxes[1], views.flipped[1] = views.images[0], views.boxes[0], views.flipped[0]
    result = run(head, views)
    scores = head.projector.group(head.projector(views.images[0]))[1]
    winners = scores.flatten(2).argmax(1)
    used, active = len(winners.unique()), sum(len(row.unique()) for row in winners) / 3
    log = result.log
    assert log['occupancy'].item() == pytest.approx(used / SLOTS)
    assert log['active'].item() == pytest.approx(active) and used > 2
    assert log['matched_contrast'].item() == pytest.approx(active / SLOTS)  # of its rows, K of 12 here
    assert log['matched_grouping'] == 1
    assert 0 < log['teacher_entropy_grouping'] <= log['usage_entropy_grouping'] <= 1
    cells, slots = result.watched['cells'], result.watched['slots']
    assert cells[0].shape == (3 * 30, 7) and cells[1] is None
    assert slots[0].shape == (3 * SLOTS, 7) and int(slots[1].sum()) == round(3 * active)


def test_rows_are_the_slots_that_won_a_cell_in_their_order():
    """As many rows as cells where there are more slots; what they hold is the slot's own mean."""
    projector = dict(type='densecl.SlotProjector', channels=(3, 7), slots=50)
    head = build('Groups', CONTRAST, 'SameId', projector=projector, pairs=[[('slots', 0), ('slots', 1)]])
    views = make_views(4)
    branch = Branch(lambda x: (x,), views)
    units = head.read(branch, head.projector, views, {('slots', 0)})['slots', 0]
    vectors, scores = head.projector.group(head.projector(views.images[0]))
    assert units.vectors.shape == (4, 30, 7)
    for b, winners in enumerate(scores.flatten(2).argmax(1)):
        numbers = sorted(set(winners.tolist()))
        assert units.ids[b].tolist() == numbers + [-1] * (30 - len(numbers))
        assert units.valid[b].tolist() == [i >= 0 for i in units.ids[b].tolist()]
        assert torch.equal(units.vectors[b, : len(numbers)], vectors[b, numbers])


def test_a_mirrored_view_costs_the_same():
    """Scores of a view and of its mirror image with the flag set agree cell by cell."""
    head, views = make_head().eval(), make_views(3)
    plain = run(head, views).loss
    views.images[1] = views.images[1].flip(-1)
    assert abs(run(head, views).loss - plain) > 1e-3
    views.flipped[1] = ~views.flipped[1]
    torch.testing.assert_close(run(head, views).loss, plain, rtol=1e-6, atol=1e-8)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match='prototypes=12, but the projector has 9'):
        run(make_head(slots=9), make_views())
    with pytest.raises(ValueError, match='at least 2, got 1'):
        make_head(slots=1)
    with pytest.raises(ValueError, match='teacher_temperature must be positive'):
        make_head(teacher_temperature=0.0)
    with pytest.raises(ValueError, match=r"no entry for units of kind 'slots'"):
        pairs = [[(kind, 0), (kind, 1)] for kind in ('cells', 'slots')]
        build('Groups', dict(cells=dict(type='SelfDistillation', prototypes=4)), pairs=pairs)
