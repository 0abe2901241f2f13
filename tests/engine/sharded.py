"""Run by test_shard.py: steps of a momentum and of a shared encoder on parts of one batch, in float64."""

import copy
import tempfile

import torch
import torch.distributed as dist
from torch.utils.data import DataLoader

from densecl.distributed import local, rank, world_size
from densecl.engine import LRScalingRunner
from densecl.engine.optim import GradNormOptimWrapper
from densecl.engine.shard import keep_state_whole, shard
from densecl.models.pretrainers import MomentumPretrainer, SharedPretrainer
from densecl.structures import Views
from densecl.transfer.load import load_backbone
from tests.models.heads.made import views_of

BACKBONE = dict(
    type='TimmViT', img_size=32, patch_size=8, embed_dim=36, depth=3, num_heads=3, output_cls_token=False
)
PROJECTOR = dict(type='MLP', channels=(36, 20, 8))
DENSE = dict(
    units='Cells',
    projector=dict(type='ConvMLP', channels=(36, 8)),
    matching='MostSimilar',
    objective=dict(type='InfoNCE', queue=32, dim=8),
)


def momentum(**kwargs):
    """DenseCL."""
    image = dict(projector=PROJECTOR, objective=dict(type='InfoNCE', queue=32, dim=8))
    return MomentumPretrainer(BACKBONE, dict(image=image, dense=DENSE), momentum=0.9, **kwargs)


def shared(**kwargs):
    """SimCLR: negatives come from all processes."""
    image = dict(projector=PROJECTOR, objective=dict(type='InfoNCE', queue=0, batch='views'))
    return SharedPretrainer(BACKBONE, dict(image=image), join_views=True, **kwargs)


def swav(**kwargs):
    """Its prototypes are normalised before each step."""
    head = dict(
        units='Prototypes',
        projector=dict(type='PrototypeProjector', channels=(36, 20, 8), prototypes=6),
        objective='SwappedPrediction',
        pairs=((0, 1), (1, 0)),
    )
    return SharedPretrainer(BACKBONE, dict(image=head), **kwargs)


def leopart(**kwargs):
    """A moving average of prototypes is not normalised, but what is averaged."""
    head = dict(
        units='Prototypes',
        projector=dict(type='PrototypeProjector', channels=(36, 20, 8), prototypes=6),
        objective='SwappedPrediction',
    )
    return MomentumPretrainer(BACKBONE, dict(image=head), momentum=0.5, **kwargs)


def views(step: int) -> Views:
    """This process's part of eight images."""
    generator = torch.Generator().manual_seed(step)
    images = [torch.randn(8, 3, 32, 32, dtype=torch.float64, generator=generator) for _ in range(2)]
    rows = torch.arange(8).chunk(world_size())[rank()]
    return views_of([x[rows] for x in images], indices=rows)


def make(build, optimizer, **kwargs):
    """Model and optimizer wrapper."""
    torch.manual_seed(0)
    model = build(**kwargs).double()
    model.init_target()
    model.train()
    if world_size() > 1:
        shard(model)
    optimizer = optimizer([p for p in model.parameters() if p.requires_grad])
    if world_size() > 1:
        keep_state_whole(optimizer)
    wrapper = GradNormOptimWrapper(optimizer, clip_grad=dict(max_norm=0.5))
    return model, wrapper


def step(model, wrapper, number: int) -> dict:
    """Its loss, the mean of all processes, and the norm of its gradients."""
    wrapper.measure = True
    losses = model(views(number), mode='loss')
    loss = sum(value for name, value in losses.items() if name.startswith('loss_'))
    wrapper.update_params(loss)
    model.after_optimizer_step()
    loss = loss.detach()
    if world_size() > 1:
        dist.all_reduce(loss)
    return dict(loss=loss / world_size(), norm=wrapper.grad_norm)


def run(build, optimizer, **kwargs) -> dict:
    """Three steps; and the third again, resumed from the second."""
    model, wrapper = make(build, optimizer, **kwargs)
    said = [step(model, wrapper, number) for number in range(2)]
    with torch.no_grad():
        model(views(9), mode='tensor')  # leaves gathered parameters behind
    saved = copy.deepcopy((model.state_dict(), wrapper.state_dict()))
    said.append(step(model, wrapper, 2))
    again, other = make(build, optimizer, **kwargs)
    again.load_state_dict(saved[0])
    other.load_state_dict(saved[1])
    resumed = step(again, other, 2)
    end, same = model.state_dict(), again.state_dict()
    parameters = list(model.parameters())
    equal = [torch.equal(same[name], end[name]) for name in end]
    return dict(
        losses=torch.stack([x['loss'] for x in said]),
        norms=torch.stack([x['norm'] for x in said]),
        state=end,
        optimizer=wrapper.state_dict()['state'],
        resumed=torch.equal(resumed['loss'], said[2]['loss']) and all(equal),
        share=sum(local(p).numel() for p in parameters) / sum(p.numel() for p in parameters),
    )


def photos(rows: list[int]) -> dict:
    """The views as the collate function makes them."""
    batch = views(rows[0])
    batch.images = [(50 * x + 128).clamp(0, 255).byte().permute(0, 2, 3, 1) for x in batch.images]
    return dict(inputs=batch)


def runner(name: str, folder: str, **options) -> LRScalingRunner:
    """Of four steps, with a checkpoint after each."""
    images = DataLoader(range(1), batch_size=1, collate_fn=photos)
    return LRScalingRunner(
        model=momentum(),
        work_dir=f'{folder}/{name}',
        experiment_name=name,
        train_dataloader=images,
        train_cfg=dict(by_epoch=True, max_epochs=4),
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1, momentum=0.9)),
        custom_hooks=[dict(type='MomentumUpdateHook')],
        default_scope='densecl',
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)),
        launcher='pytorch',
        log_level='ERROR',
        cfg=dict(model_wrapper_cfg=dict(type='FullyShard')),
        **options,
    )


def files() -> dict:
    """The last checkpoint of a sharded run, and of one that was resumed in its middle."""
    folder = [tempfile.mkdtemp()]
    dist.broadcast_object_list(folder)
    runner('whole', *folder).train()
    middle = f'{folder[0]}/whole/epoch_2.pth'
    runner('resumed', *folder, load_from=middle, resume=True).train()
    dist.barrier()
    read = [
        torch.load(f'{folder[0]}/{name}/epoch_4.pth', weights_only=False) for name in ('whole', 'resumed')
    ]
    return dict(
        zip(('whole', 'resumed'), [{k: x[k] for k in ('state_dict', 'optimizer')} for x in read], strict=True)
    )


def started() -> dict:
    """A model's backbone after it was loaded from a file, and the file's."""
    torch.manual_seed(1)
    given = {f'backbone.{name}': x.detach() for name, x in momentum().double().backbone.state_dict().items()}
    model, _ = make(momentum, lambda p: torch.optim.SGD(p, lr=0.1))
    load_backbone(model, dict(state_dict=given))
    return dict(given=given, loaded=model.state_dict())


def everything() -> dict:
    """All, with the optimisers of the recipes."""
    from densecl.engine.optimizers import LARS

    return dict(
        momentum=run(momentum, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-4)),
        shared=run(shared, lambda p: torch.optim.AdamW(p, lr=1e-3)),
        recomputed=run(
            momentum, lambda p: torch.optim.AdamW(p, lr=1e-3, fused=True), checkpoint_activations=True
        ),
        files=files() if world_size() > 1 else {},
        started=started(),
        leopart=run(leopart, lambda p: torch.optim.SGD(p, lr=0.5)),
        swav=run(swav, lambda p: torch.optim.SGD(p, lr=0.5)),
        lars=run(shared, lambda p: LARS(p, lr=0.5, weight_decay=1e-4)),
    )
