"""PIRL's head against its formula, and the order in which patches are put together."""

import pytest
import torch
import torch.nn.functional as F

from densecl.models.heads import PatchesHead
from densecl.models.losses import Samples
from densecl.models.necks import PatchProjector
from densecl.models.necks.patches import in_reading_order
from densecl.models.pretrainers import SharedPretrainer
from densecl.structures import Views

INDICES = torch.tensor([6, 2, 9])


class Fixed:
    """A branch whose levels are given."""

    joint = True

    def __init__(self, levels):
        self.levels = levels

    def __getitem__(self, view):
        return (self.levels[view],)


def puzzle(batch=3, side=3, seed=0):
    """Boxes of the image and its patches, which come in random order, and where each patch lies."""
    generator = torch.Generator().manual_seed(seed)
    cells = torch.stack([torch.randperm(side**2, generator=generator) for _ in range(batch)])
    corners = torch.stack([cells % side, cells // side], -1) * 85.0
    corners = corners + torch.randint(0, 22, corners.shape, generator=generator)
    boxes = torch.cat([corners, corners + 64], -1)
    return [torch.tensor([[0.0, 0, 255, 255]] * batch), *boxes.unbind(1)], cells


def make_views(boxes):
    batch = len(boxes[0])
    return Views(
        images=[torch.zeros(batch, 3, 8, 8)] * len(boxes),
        boxes=boxes,
        flipped=[torch.zeros(batch, dtype=torch.bool)] * len(boxes),
        source_sizes=torch.full((batch, 2), 255.0),
        indices=INDICES[:batch],
        paths=[''] * batch,
        photometric=[None] * len(boxes),
    )


def config(form='softmax', **kwargs):
    return dict(
        projector=dict(type='densecl.MLP', channels=(5, 4)),
        patch_projector=dict(
            type='densecl.PatchProjector',
            patches=9,
            each=dict(type='densecl.MLP', channels=(5, 3)),
            together=dict(type='densecl.MLP', channels=(27, 4)),
        ),
        objective=dict(type='densecl.NCE', images=10, dim=4, negatives=6, form=form),
        **kwargs,
    )


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
def test_loss_is_the_weighted_mean_of_both_terms_and_the_bank_learns_the_image(order):
    head = PatchesHead(**config(order=order, patch_weight=0.3)).double()
    boxes, cells = puzzle()
    levels = torch.randn(10, 3, 5, 2, 2, dtype=torch.float64, requires_grad=True)
    bank = head.objective.bank.vectors.clone()
    result = head.loss(Fixed(levels), None, make_views(boxes), None)

    pooled = levels.mean((3, 4))  # (10, B, C)
    image = linear(head.projector, pooled[0])
    patches = []
    for i in range(3):
        numbers = range(9) if order == 'drawn' else [cells[i].tolist().index(c) for c in range(9)]
        each = [linear(head.patch_projector.each, pooled[1 + n, i]) for n in numbers]
        patches.append(linear(head.patch_projector.together, torch.cat(each)))
    terms = [
        F.cross_entropy(F.normalize(x, dim=1) @ bank.T / 0.07, INDICES)
        for x in (torch.stack(patches), image)
    ]
    want = 0.3 * terms[0] + 0.7 * terms[1]
    torch.testing.assert_close(result['loss'], want, rtol=0, atol=1e-10)
    mine, theirs = (torch.autograd.grad(x, levels)[0] for x in (result['loss'], want))
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-10)

    learned = F.normalize(bank[INDICES] + F.normalize(image.detach(), dim=1), dim=1)
    torch.testing.assert_close(head.objective.bank.vectors[INDICES], learned, rtol=0, atol=1e-10)
    untouched = [i for i in range(10) if i not in INDICES]
    assert torch.equal(head.objective.bank.vectors[untouched], bank[untouched])
    assert torch.equal(head.embeddings, image.detach())
    assert set(result) == {'loss', 'pos_sim', 'patch_sim'}


def test_both_terms_are_scored_before_the_bank_learns():
    head = PatchesHead(**config(form='nce')).double().train()
    boxes, _ = puzzle()
    views = make_views(boxes)
    levels = torch.randn(10, 3, 5, 2, 2, dtype=torch.float64)
    twin = PatchesHead(**config(form='nce')).double()
    twin.load_state_dict(head.state_dict())
    result = head.loss(Fixed(levels), None, views, None)
    samples = Samples(indices=INDICES)
    patches = twin.patch_projector(levels[1:].mean((3, 4)).transpose(0, 1))
    image = twin.projector(levels[0].mean((2, 3)))
    by_hand = twin.objective.score(patches, samples)[0] + twin.objective.score(image, samples)[0]
    torch.testing.assert_close(result['loss'], by_hand / 2, rtol=0, atol=1e-12)
    head.eval()
    before = head.objective.bank.vectors.clone()
    head.loss(Fixed(levels), None, views, None)
    assert torch.equal(head.objective.bank.vectors, before)


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
    model = SharedPretrainer(
        backbone=dict(type='densecl.TorchvisionResNet', arch='resnet18'),
        heads=dict(
            image=dict(
                type='densecl.PatchesHead',
                projector=dict(type='densecl.MLP', channels=(512, 4)),
                patch_projector=dict(
                    type='densecl.PatchProjector',
                    patches=9,
                    together=dict(type='densecl.MLP', channels=(9 * 512, 4)),
                ),
                objective=dict(type='densecl.NCE', images=10, dim=4, negatives=6),
            )
        ),
        join_views=True,
    )
    views = make_views(puzzle()[0])
    views.images = [torch.randn(3, 3, 64, 64)] + [torch.randn(3, 3, 32, 32) for _ in range(9)]
    passes = []
    model.backbone.register_forward_pre_hook(lambda _, inputs: passes.append(inputs[0].shape))
    losses = model.loss(views)
    assert sorted(passes) == [(3, 3, 64, 64), (27, 3, 32, 32)]
    losses['loss_image'].backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(order='x'), "'drawn' or 'image', got 'x'"),
        (dict(patch_weight=1.5), r'patch_weight must lie in \[0, 1\], got 1.5'),
        (dict(objective=dict(type='densecl.NegativeCosine')), 'memory bank.*got NegativeCosine'),
    ],
)
def test_refusals(kwargs, message):
    with pytest.raises(ValueError, match=message):
        PatchesHead(**{**config(), **kwargs})


def test_number_of_views():
    with pytest.raises(ValueError, match='9 patches are 10 views, the pipeline makes 2'):
        PatchesHead(**config()).needed(2)
