"""An image and its patches as units: PIRL against its formula, and the order of the patches."""

import pytest
import torch
import torch.nn.functional as F

from densecl.models.heads.units.patches import in_reading_order
from densecl.models.necks import PatchProjector
from densecl.models.pretrainers import SharedPretrainer
from densecl.structures import Batch, Comparison
from tests.models.heads.made import Fixed, build, views_of

INDICES = torch.tensor([6, 2, 9])


def puzzle(batch=3, side=3, seed=0):
    """Boxes of the image and its patches, which come in random order, and where each patch lies."""
    generator = torch.Generator().manual_seed(seed)
    cells = torch.stack([torch.randperm(side**2, generator=generator) for _ in range(batch)])
    corners = torch.stack([cells % side, cells // side], -1) * 85.0
    corners = corners + torch.randint(0, 22, corners.shape, generator=generator)
    boxes = torch.cat([corners, corners + 64], -1)
    return [torch.tensor([[0.0, 0, 255, 255]] * batch), *boxes.unbind(1)], cells


def make_views(boxes, images=None):
    images = [torch.zeros(len(boxes[0]), 3, 8, 8)] * len(boxes) if images is None else images
    return views_of(images, boxes, indices=INDICES)


def make_head(form='softmax', order='drawn', weights=(0.5, 0.5), **kwargs):
    pairs = [
        dict(query=(kind, 0), key=('global', 0), weight=weight, name=name)
        for kind, weight, name in zip(('local', 'global'), weights, ('patches', 'image'), strict=True)
    ]
    projector = dict(
        type='densecl.ImagePatchProjectors',
        image=dict(type='densecl.MLP', channels=(5, 4)),
        patches=dict(
            type='densecl.PatchProjector',
            patches=9,
            each=dict(type='densecl.MLP', channels=(5, 3)),
            together=dict(type='densecl.MLP', channels=(27, 4)),
        ),
    )
    objective = dict(type='NCE', images=10, dim=4, negatives=6, form=form)
    units = dict(type='densecl.Patches', images=1, order=order)
    return build(units, objective, projector=projector, pairs=pairs, **kwargs)


def step(head, levels, views):
    """As a shared pretrainer does it; the result."""
    branch, batch = Fixed(*levels, joint=True), Batch.of(views)
    result = head.loss(branch, branch, views, batch, head.projector)
    if head.training:
        head.remember(result.keys, batch)
    return result


def linear(layer, x):
    return x @ layer[0].weight.T + layer[0].bias


def test_reading_order():
    boxes, cells = puzzle(batch=20)
    order = in_reading_order(torch.stack(boxes[1:], 1))
    assert torch.equal(cells.gather(1, order), torch.arange(9).expand(20, 9))
    boxes, cells = puzzle(batch=4, side=2)
    order = in_reading_order(torch.stack(boxes[1:], 1))
    assert torch.equal(cells.gather(1, order), torch.arange(4).expand(4, 4))


@pytest.mark.parametrize('order', ['drawn', 'image'])
def test_pirl_is_the_weighted_mean_of_both_terms_and_the_bank_learns_the_image(order):
    head = make_head(order=order, weights=(0.3, 0.7))
    boxes, cells = puzzle()
    levels = torch.randn(10, 3, 5, 2, 2, dtype=torch.float64, requires_grad=True)
    memory = head.objective['global'].bank
    bank = memory.vectors.clone()
    result = step(head, levels, make_views(boxes))

    pooled = levels.mean((3, 4))  # (10, B, C)
    image = linear(head.projector['global'], pooled[0])
    projector, patches = head.projector['local'], []
    for i in range(3):
        numbers = range(9) if order == 'drawn' else [cells[i].tolist().index(c) for c in range(9)]
        each = [linear(projector.each, pooled[1 + n, i]) for n in numbers]
        patches.append(linear(projector.together, torch.cat(each)))
    terms = [
        F.cross_entropy(F.normalize(x, dim=1) @ bank.T / 0.07, INDICES) for x in (torch.stack(patches), image)
    ]
    want = 0.3 * terms[0] + 0.7 * terms[1]
    torch.testing.assert_close(result.loss, want, rtol=0, atol=1e-10)
    mine, theirs = (torch.autograd.grad(x, levels)[0] for x in (result.loss, want))
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-10)
    for name, term in zip(('patches', 'image'), terms, strict=True):
        torch.testing.assert_close(result.log[name], term.detach(), rtol=0, atol=1e-10)

    learned = F.normalize(bank[INDICES] + F.normalize(image.detach(), dim=1), dim=1)
    torch.testing.assert_close(memory.vectors[INDICES], learned, rtol=0, atol=1e-10)
    untouched = [i for i in range(10) if i not in INDICES]
    assert torch.equal(memory.vectors[untouched], bank[untouched])
    torch.testing.assert_close(result.watched['global'][0], image.detach())
    assert set(result.log) == {'patches', 'image', 'pos_sim_patches', 'pos_sim_image'}


def test_both_terms_are_scored_before_the_bank_learns():
    head, twin = make_head('nce').train(), make_head('nce')
    views = make_views(puzzle()[0])
    levels = torch.randn(10, 3, 5, 2, 2, dtype=torch.float64)
    twin.load_state_dict(head.state_dict())
    result = step(head, levels, views)
    objective = twin.objective['global']
    patches = twin.projector['local'](levels[1:].mean((3, 4)).transpose(0, 1))
    image = twin.projector['global'](levels[0].mean((2, 3)))
    both = [Comparison.of_rows(x, image, Batch.of(views)) for x in (patches, image)]
    by_hand = sum(objective.score(c)[0] for c in both)
    torch.testing.assert_close(result.loss, by_hand / 2, rtol=0, atol=1e-12)
    head.eval()
    before = head.objective['global'].bank.vectors.clone()
    step(head, levels, views)
    assert torch.equal(head.objective['global'].bank.vectors, before)


def test_official_shapes():
    projector = PatchProjector(
        patches=9,
        each=dict(type='densecl.MLP', channels=(2048, 128)),
        together=dict(type='densecl.MLP', channels=(1152, 128)),
    )
    shapes = [tuple(p.shape) for p in projector.parameters()]
    assert shapes == [(128, 2048), (128,), (128, 1152), (128,)]
    assert projector(torch.randn(2, 9, 2048)).shape == (2, 128)
    with pytest.raises(ValueError, match=r'needs \(B, 9, C\), got \(2, 4, 2048\)'):
        projector(torch.randn(2, 4, 2048))


def test_detco_concatenates_right_away():
    projector = PatchProjector(patches=4, together=dict(type='densecl.MLP', channels=(12, 5)))
    x = torch.randn(2, 4, 3)
    torch.testing.assert_close(projector(x), linear(projector.together, x.flatten(1)))


def test_all_patches_go_through_the_backbone_in_one_pass():
    projector = dict(
        type='densecl.ImagePatchProjectors',
        image=dict(type='densecl.MLP', channels=(512, 4)),
        patches=dict(
            type='densecl.PatchProjector',
            patches=9,
            together=dict(type='densecl.MLP', channels=(9 * 512, 4)),
        ),
    )
    model = SharedPretrainer(
        backbone=dict(type='densecl.TorchvisionResNet', arch='resnet18'),
        heads=dict(
            image=dict(
                units=dict(type='densecl.Patches', images=1),
                projector=projector,
                pairs=[[('local', 0), ('global', 0)], [('global', 0), ('global', 0)]],
                objective=dict(type='densecl.NCE', images=10, dim=4, negatives=6),
            )
        ),
        join_views=True,
    )
    images = [torch.randn(3, 3, 64, 64)] + [torch.randn(3, 3, 32, 32) for _ in range(9)]
    passes = []
    model.backbone.register_forward_pre_hook(lambda _, inputs: passes.append(inputs[0].shape))
    losses = model.loss(make_views(puzzle()[0], images))
    assert sorted(passes) == [(3, 3, 64, 64), (27, 3, 32, 32)]
    losses['loss_image'].backward()
    assert all(p.grad is not None for p in model.parameters())


def test_refusals():
    with pytest.raises(ValueError, match="order must be 'drawn' or 'image', got 'x'"):
        make_head(order='x')
    with pytest.raises(ValueError, match='pairs need 10 views, the pipeline makes 2'):
        make_head().needed(2)
    head = make_head()
    with pytest.raises(ValueError, match='images are views 0 to 0, got .*1.*set units.images'):
        head.units.views_of(('local', 1))
    with pytest.raises(ValueError, match=r"a set of these units is \(kind, view\).*'global', 'local'.*got 0"):
        build(dict(type='densecl.Patches', images=1), pairs=[(0, 1)])
