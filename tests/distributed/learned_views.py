"""Run by test_learned_views_of_two_processes.py: perturbed views, weighted and guided pairs: gradients."""

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from densecl.distributed import world_size
from densecl.models.pretrainers import SharedPretrainer
from densecl.registry import MODELS
from densecl.structures import Views
from tests.distributed.steps import own
from tests.models.heads.made import views_of

BATCH = 6
CONTRAST = dict(type='densecl.InfoNCE', queue=0, batch='views', temperature=0.3)
MAKER = dict(view_maker=dict(type='densecl.ViewMaker', blocks=1))
CHOICES = dict(
    view_maker=(dict(objective=CONTRAST), MAKER),
    settling=(dict(objective=CONTRAST), dict(MAKER, heads_first=1)),
    features=(dict(objective=CONTRAST, pair_weight='densecl.PairQuality'), {}),
    given=(dict(objective='densecl.Cosine', pair_weight='densecl.GivenQuality'), {}),
    guided=(
        dict(objective='densecl.Cosine', matching='densecl.GuidedStopGradient', stop_gradient=True),
        {},
    ),
)


@MODELS.register_module()
class Smooth(nn.Module):
    """A backbone without batch statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, stride=2)

    def forward(self, x):
        return (self.conv(x).tanh(),)


def part() -> Views:
    """This process's images of the global batch."""
    # of these images, guided pairs of each half have another reference in it
    generator = torch.Generator().manual_seed(4)
    mine = own(BATCH)
    images = [torch.randn(BATCH, 3, 12, 12, generator=generator, dtype=torch.float64)[mine] for _ in range(2)]
    scores = torch.linspace(-1, 1, BATCH, dtype=torch.float64)[mine]
    return views_of(images, indices=torch.arange(BATCH)[mine], scores=scores)


def step(head: dict, options: dict) -> dict:
    torch.manual_seed(0)
    head = dict(projector=dict(type='densecl.MLP', channels=(6, 5)), pairs=((0, 1), (1, 0)), **head)
    model = SharedPretrainer(dict(type='Smooth'), dict(image=head), **options).double().train()
    run = DistributedDataParallel(model) if dist.is_initialized() else model
    loss = run(part(), mode='loss')['loss_image']
    loss.backward()
    model.before_optimizer_step()
    if dist.is_initialized():
        dist.all_reduce(loss := loss.detach())
    return dict(
        loss=loss.detach() / world_size(),
        gradients={name: p.grad for name, p in model.named_parameters()},
    )


def everything() -> dict:
    return {name: step(*choice) for name, choice in CHOICES.items()}
