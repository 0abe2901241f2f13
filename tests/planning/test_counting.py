"""A step that is counted on fake tensors, beside the same step run."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from densecl.engine.launch import read_config
from densecl.planning.counting import Step
from densecl.planning.photos import take_samples
from densecl.planning.step_cost import Operation, StepCounter
from tests.planning.real_step import peak_of_passes

CONFIGS = Path(__file__).parents[2] / 'configs'


def step_of(name: str) -> Step:
    cfg = read_config(str(CONFIGS / f'{name}.py'))
    return Step(cfg, take_samples(cfg, seconds=0).samples, images=1000)


@pytest.mark.parametrize(
    ('name', 'batch', 'precision'),
    [
        ('mocov2/mocov2_resnet18_1xb64-coslr-6e_photos', 8, 'fp32'),
        ('anchor/anchor_efficientnet-lite0_1xb16-coslr-16e_photos', 2, 'fp32'),
        ('densecl/densecl_resnet18_1xb64-coslr-6e_photos', 8, 'bf16'),
        ('soco/soco_resnet18_fpn_1xb64-coslr-6e_photos', 4, 'fp32'),
        ('vicreg/vicreg_resnet18_1xb64-coslr-6e_photos', 16, 'fp32'),
        ('slotcon/slotcon_resnet18_1xb64-coslr-6e_photos', 16, 'fp32'),
    ],
)
def test_memory_is_that_of_a_real_step(name, batch, precision):
    step = step_of(name)
    counted = step.count(batch, precision).passes
    assert counted == pytest.approx(peak_of_passes(step, batch, precision), rel=0.15)


def test_checkpointed_activations_need_less():
    step = step_of('mocov2/mocov2_resnet18_1xb64-coslr-6e_photos')
    plain = step.count(64)
    step.checkpoint_activations()
    again = step.count(64)
    assert again.passes < 0.75 * plain.passes
    assert 1.1 * plain.counter.flops < again.counter.flops < 4 / 3 * plain.counter.flops


class Choosing(nn.Module):
    """Of the rows some."""

    def forward(self, x):
        return x[x.sum(1) > 0]


def test_shapes_that_depend_on_the_data_are_named():
    step = step_of('simsiam/simsiam_resnet18_1xb64-coslr-6e_photos')
    (head,) = step.model.heads.values()
    head.predictor = Choosing()
    with pytest.raises(
        ValueError, match=r'its shapes depend on the data \(.*test_counting.py:.*; measure it instead'
    ):
        step.count(8)


def test_a_linear_layer_by_hand():
    """16 rows through 8 x 4 weights: forward 2 x 16 x 8 x 4, backward the same for the weights alone."""
    mode, counter = FakeTensorMode(), StepCounter()
    with mode:
        x, w = torch.randn(16, 8), torch.randn(8, 4, requires_grad=True)
        with counter:
            loss = (x @ w).sum()
            loss.backward()
    assert counter.flops == 2 * (2 * 16 * 8 * 4)
    product = Operation('fp32', 2 * 16 * 8 * 4, 4 * (16 * 8 + 8 * 4 + 16 * 4))  # either pass
    assert counter.operations[product] == 2
    assert counter.live == 4 * (1 + 8 * 4)  # the loss and the gradient are left


def test_convolutions_in_halves_and_in_float():
    mode, counter = FakeTensorMode(), StepCounter()
    with mode:
        x, conv = torch.randn(2, 3, 8, 8), torch.nn.Conv2d(3, 5, 3, padding=1, bias=False)
        with counter:
            conv(x)
            with torch.autocast('cpu', dtype=torch.bfloat16):
                conv(x)
    flops = 2 * (2 * 8 * 8) * 5 * 3 * 9
    found = {o.kind: o.flops for o in counter.operations if o.flops}
    assert found == {'tf32': flops, 'half': flops}


def test_processes_are_played():
    step = step_of('mocov2/mocov2_resnet18_1xb64-coslr-6e_photos')
    one, eight = step.count(4), step.count(4, world=8)
    assert not sum(one.wire.values()) and one.buckets == 0
    gradients = 4 * one.trained
    assert eight.buckets == gradients and eight.wire['gradients'] == int(2 * 7 / 8 * gradients)
    assert eight.wire['all_gather'] >= 4 * 128 * 4 * 7  # 4 keys of 128 float32 to 7 others
    assert not torch.distributed.is_initialized()


def test_a_teacher_is_not_of_the_online_network():
    step = step_of('distillation/distillation_resnet18_1xb64-coslr-16e_photos')
    cost, (head,) = step.count(4), step.model.heads.values()
    size = sum(x.numel() * x.element_size() for x in (*head.target.parameters(), *head.target.buffers()))
    assert cost.target == size > 0
    parts = (step.model.backbone, head.projector)
    assert cost.parameters == cost.trained == sum(p.numel() for part in parts for p in part.parameters())


def test_parts_by_hand():
    step = step_of('mocov2/mocov2_resnet18_1xb64-coslr-6e_photos')
    cost = step.count(4)
    model = step.model
    weights = sum(p.numel() for part in (model.backbone, model.heads) for p in part.parameters())
    assert cost.parameters == cost.trained == weights
    assert cost.optimizer == 4 * weights  # SGD's momentum
    queues = [tensor for queue in model.queues().values() for tensor in queue.buffers()]
    assert cost.memories == sum(tensor.numel() * tensor.element_size() for tensor in queues)
    assert cost.memories > 4 * 1024 * 128
    assert cost.images == sum(4 * 4 * image[0].numel() for image in step.views.images)
