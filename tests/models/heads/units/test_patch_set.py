"""Several views as one unit, against the layers called one by one."""

import pytest
import torch
import torch.nn.functional as F

from densecl.models.pretrainers import SharedPretrainer
from tests.models.heads.made import make_views

BACKBONE = dict(type='densecl.TorchvisionResNet', arch='resnet18')
PROJECTOR = dict(
    type='densecl.PatchProjector',
    patches=3,
    each=dict(type='densecl.MLP', channels=(512, 4)),
    relu=True,
    together=dict(type='densecl.MLP', channels=(12, 5)),
)


def build(**changes):
    head = dict(
        target=dict(type='densecl.Known'),
        units=dict(type='densecl.PatchSet', patches=3),
        projector=PROJECTOR,
        objective='densecl.CodeCrossEntropy',
        pairs=((0, 0), (1, 1)),
    )
    torch.manual_seed(0)
    return SharedPretrainer(backbone=BACKBONE, heads=dict(puzzle=head | changes), join_views=True)


def batch(answers):
    views = make_views(batch=2, count=6, side=32)
    views.answers = torch.tensor(answers)
    return views


def test_two_sets_of_three_views():
    model = build().double().eval()
    # Of a set the last view's answer counts: a pair of patches has none for its first.
    views = batch([[-1, -1], [-1, -1], [3, 0], [1, 4], [1, 4], [1, 4]])
    projector, total = model.heads.puzzle.projector, 0.0
    for image in range(2):
        for answer, of in (((3, 0)[image], (0, 1, 2)), ((1, 4)[image], (3, 4, 5))):
            tiles = [model.backbone(views.images[v][image : image + 1])[-1].mean((2, 3)) for v in of]
            each = [F.relu(F.linear(x, projector.each[0].weight, projector.each[0].bias)) for x in tiles]
            logits = F.linear(torch.cat(each, 1), projector.together[0].weight, projector.together[0].bias)
            total = total - logits.log_softmax(1)[0, answer] / 4
    found = model.loss(views)
    torch.testing.assert_close(found['loss_puzzle'], total)
    weight = projector.each[0].weight
    gradients = (torch.autograd.grad(x, weight)[0] for x in (found['loss_puzzle'], total))
    torch.testing.assert_close(*gradients)


def test_a_set_without_a_projector_is_refused():
    with pytest.raises(
        ValueError, match=r"units=PatchSet needs a projector of the head's own.*PatchProjector"
    ):
        build(projector=None)


def test_too_few_views_are_refused():
    with pytest.raises(ValueError, match='pairs need 9 views, the pipeline makes 6'):
        build(pairs=((2, 2),)).loss(batch([[0, 0]] * 6))
