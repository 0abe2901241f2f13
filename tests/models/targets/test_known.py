"""What was done to a view as the answer: against the cross-entropy written out, and refusals of one line."""

import math

import pytest
import torch

from densecl.models.pretrainers import SharedPretrainer
from densecl.models.targets import Known
from densecl.structures import Views
from tests.models.heads.made import views_of


def build(pairs=((0, 0), (1, 1)), classes=4):
    head = dict(
        target=dict(type='densecl.Known'),
        projector=dict(type='densecl.MLP', channels=(512, classes)),
        objective='densecl.CodeCrossEntropy',
        pairs=pairs,
    )
    torch.manual_seed(0)
    backbone = dict(type='densecl.TorchvisionResNet', arch='resnet18')
    return SharedPretrainer(backbone=backbone, heads=dict(task=head), join_views=True).double().eval()


def batch(answers) -> Views:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, 3, 32, 32, dtype=torch.float64, generator=generator)
    return views_of(images, answers=None if answers is None else torch.tensor(answers))


def test_loss_and_accuracy():
    model, answers = build(), [[0, 3, 1], [2, 2, 0]]
    views = batch(answers)
    found = model.loss(views)
    losses, hits = [], []
    for image, row in zip(views.images, answers, strict=True):
        logits = model.heads.task.projector(model.encode(image)[-1].mean((2, 3)))
        for scores, answer in zip(logits.tolist(), row, strict=True):
            losses.append(math.log(sum(math.exp(x) for x in scores)) - scores[answer])
            hits.append(max(range(4), key=lambda k: scores[k]) == answer)
    assert found['loss_task'].item() == pytest.approx(sum(losses) / 6, rel=1e-9)
    assert found['task_accuracy'].item() == pytest.approx(sum(hits) / 6)
    found['loss_task'].backward()
    assert all(p.grad.abs().max() > 0 for p in model.heads.task.parameters())


def test_answers_are_no_features():
    """Nothing of the target is trained, and nothing of it is saved."""
    model = build()
    assert list(model.heads.task.target.state_dict()) == []


@pytest.mark.parametrize(
    ('answers', 'message'),
    [
        (None, r"target=dict\(type='Known'\): the views have no answers"),
        ([[0, 1, 2], [-1, -1, -1]], 'a view without an answer'),
        ([[0, 1, 2], [0, 4, 1]], 'code 4 with 4 logits'),
    ],
)
def test_what_does_not_fit_is_said_in_the_first_step(answers, message):
    with pytest.raises(ValueError, match=message) as error:
        build().loss(batch(answers))
    assert '\n' not in str(error.value)


def test_each_image_is_a_class():
    model, views = build(classes=9), batch(None)
    model.heads.task.target = Known(of='image', classes=9)
    views.indices = torch.tensor([7, 0, 3])
    total = 0.0
    for image in views.images:
        logits = model.heads.task.projector(model.encode(image)[-1].mean((2, 3))).log_softmax(1)
        total = total - (logits[0, 7] + logits[1, 0] + logits[2, 3]) / 6
    torch.testing.assert_close(model.loss(views)['loss_task'], total)


def test_more_images_than_classes_are_refused():
    target = Known(of='image', classes=8)
    target.set_images(8)
    with pytest.raises(ValueError, match='9 images, each a class, but classes=8; set .*max_images=8'):
        target.set_images(9)
    with pytest.raises(ValueError, match="of must be 'view' or 'image', got 'label'"):
        Known(of='label')
