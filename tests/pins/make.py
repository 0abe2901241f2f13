"""Numbers of two training steps of every method, so that a rewrite can show that it changed none of them.

``python tests/pins/make.py`` writes ``pins.json`` next to it; with words, only the configs whose names hold
one of them. ``--check`` compares instead, as ``test_pins.py`` does for some of them.

Everything is made here, in float64: weights from their names, views from a seed. So the numbers do not depend
on data sets, on the order in which modules are built, or on their initialisation.
"""

import json
import sys
from pathlib import Path
from zlib import crc32

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import densecl.compat

densecl.compat.install()

from mmengine.config import Config  # noqa: E402
from mmengine.registry import init_default_scope  # noqa: E402

from densecl.datasets.transforms.drawn import Crop, DrawnView  # noqa: E402
from densecl.datasets.transforms.sliding_windows import SlidingWindows  # noqa: E402
from densecl.engine.launch import use_plain_batch_norm  # noqa: E402
from densecl.registry import MODELS  # noqa: E402
from densecl.structures import ViewRegions, Views, boxes_to_view  # noqa: E402
from densecl.structures.views import stack  # noqa: E402

CONFIGS = Path(__file__).parents[2] / 'configs'
PINS = Path(__file__).with_name('pins.json')
LARGE = (
    'detcon/detcon-s_resnet50_8xb512-coslr-100e_in1k',
    'dino/dino_vit-small_8xb64-mcrop-coslr-100e_in1k',
    'mocov3/mocov3_vit-small_8xb512-coslr-300e_in1k',
    'pixpro/pixpro-instance_resnet50_8xb128-coslr-100e_in1k',
    'pixpro/pixpro_resnet50_fpn_8xb128-coslr-100e_in1k',
    'soco/soco-star_resnet50_fpn_16xb128-coslr-400e_in1k',
    'soco/soco_resnet50_c4_16xb128-coslr-100e_in1k',
    'swav/swav_resnet50_4xb64-mcrop-queue-coslr-200e_in1k',
)
# Views here have no masks: SparK is tested against lists of points, tests/oracles/sparse.py, and colours and
# holes have tests of their own. A teacher's weights are not drawn here. AlignDet's boxes are tested against
# loops, tests/oracles/detections.py.
OTHERS = ('spark', 'distillation', 'aligndet', 'colorization', 'context_encoder')
SMALL = [
    path
    for path in CONFIGS.glob('*/*_resnet18_*_photos.py')
    if path.parent.name not in OTHERS
    # DenseCL and PixPro of other views; FinerCL is tested beside its parts
    and not any(word in path.stem for word in ('decoupled', 'warped', 'segments', 'finercl', 'place'))
]
# The small recipes had views of 96 px when they were pinned, and these C5 at stride 32.
COARSE = (
    'barlow', 'byol', 'clop', 'clsp', 'densecl', 'detco_', 'dino', 'directclr', 'exemplar', 'genview',
    'mocov2', 'mocov3', 'npid', 'pirl', 'rotation', 'simclr', 'simsiam', 'sincere', 'supcon', 'swav',
    'vicreg_', 'viewmaker',
)  # fmt: skip
CAPTIONS = sorted(CONFIGS.glob('clip/*_resnet18_*_captions.py'))
PATHS = sorted(SMALL) + CAPTIONS + [CONFIGS / f'{name}.py' for name in LARGE]
RESNET50 = [256, 512, 1024, 2048]  # widths of its levels; ResNet-18, which takes its place, has a quarter
# Beginnings of names in a state dict, old -> new; the first that fits counts. Weights are drawn, and numbers
# stored, by old names.
RENAMES = {
    'heads.image.patch_projector': 'heads.image.projector.local',
    'heads.image.projector': 'heads.image.projector.global',
    'heads.image.objective': 'heads.image.objective.global',
    'heads.slots.objective.center': 'heads.slots.objective.cells.center',
}

BATCH, SIDE = 4, 64  # images; pixels of the largest view
IMAGES = 8  # of the data set: state per image, and banks
INDICES = torch.tensor([[0, 1, 2, 3], [2, 5, 0, 7]])  # of two steps: two images come again
LABELS = torch.tensor([[0, 1, 0, -1], [2, 2, -1, 2]])
MOST = 6  # parameters of a config whose gradients are stored


def old_name(name: str) -> str:
    """What an entry of the state dict was called when the pins were made."""
    for old, new in RENAMES.items():
        if name == new or name.startswith(f'{new}.'):
            return old + name[len(new) :]
    return name


# --- the model ---------------------------------------------------------------------------------------------


def narrow(node, scale: float) -> None:
    """Make a model config small, in place, for views of ``scale`` times their size."""
    if isinstance(node, list | tuple):
        for value in node:
            narrow(value, scale)
    if not isinstance(node, dict):
        return
    if node.get('depth') == 50:
        node['depth'] = 18
    if str(node.get('type')).endswith('TimmViT'):
        node.update(depth=2, drop_path=0.0)  # no draws: their order is that of the passes
    if node.get('queue_start'):
        node.update(queue=BATCH, queue_start=0)  # full after a step, read in the second
    if node.get('grid'):
        node['grid'] = 8  # of P2, which has 16 cells a side
    for key, value in node.items():
        if key == 'queue' and value > 16:
            node[key] = 16
        elif key == 'thresholds':  # lengths in view pixels
            node[key] = tuple(scale * x for x in value)
        elif key == 'bins':
            node[key] = min(value, 7)
        elif key == 'in_channels' and value == RESNET50:
            node[key] = [x // 4 for x in value]
        elif key in ('channels', 'prototypes', 'dim', 'local_hidden') and value:
            wide = value if isinstance(value, list | tuple) else [value]
            small = tuple(256 if x > 2500 else 512 if x == 2048 else x for x in wide)
            node[key] = small if wide is value else small[0]
        else:
            narrow(value, scale)


def value_of(name: str, like: Tensor) -> Tensor:
    """The entry ``name`` of a state dict: float64 of the shape of ``like``, which depends on both alone."""
    generator = torch.Generator().manual_seed(crc32(name.encode()))
    drawn = torch.randn(like.shape, generator=generator, dtype=torch.float64)
    part = name.rsplit('.', 1)[-1]
    if part in ('keys', 'vectors', 'anchors') or name.endswith('prototypes.weight'):
        return F.normalize(drawn, dim=1)
    if part == 'running_var' or (part == 'weight' and like.ndim == 1) or part == 'weight_g':
        return 1 + 0.05 * drawn.abs()
    return 0.05 * drawn


@torch.no_grad()
def as_pinned(cfg: Config, name: str) -> Config:
    """A small recipe with the size and the stride that it was pinned with."""
    if name in [path.stem for path in SMALL]:
        for view in cfg.train_dataloader.dataset.pipeline[0].views:
            if view.get('size') == 112:
                view.size = 96
        if name.startswith(COARSE):
            cfg.model.backbone.update(strides=(1, 2, 2, 2), dilations=(1, 1, 1, 1))
        if name.startswith('soco'):  # the official objective, at the scale of 96 px
            cfg.train_dataloader.dataset.pipeline[0].views[2].size = 48
            cfg.model.momentum = dict(start=0.97, end=1.0)
            head = cfg.model.heads.objects
            head.units.thresholds, head.loss_weight = (41, 82, 96), 8.0
            head.objective = dict(type='Cosine', mean='images')
        if name.startswith('vicregl'):
            cfg.model.heads.local.matching[1].top = 15
    return cfg


def build(cfg: Config) -> nn.Module:
    """The narrowed model with weights from their names."""
    use_plain_batch_norm(cfg._cfg_dict)
    sizes = [view.get('size', 0) for view in cfg.train_dataloader.dataset.pipeline[0].views]
    narrow(cfg.model, SIDE / (max(sizes) or SIDE))
    init_default_scope('densecl')
    model = MODELS.build(cfg.model).train()
    for module in model.modules():
        if hasattr(module, 'set_images'):
            module.set_images(IMAGES)
    model.double()
    for name, entry in model.state_dict().items():
        if entry.is_floating_point() and entry.ndim:  # a scalar, as the constant of NCE, starts as it does
            entry.copy_(value_of(old_name(name), entry))
    model.clock.total, model.clock.epoch = 4, 1
    return model


# --- the views ---------------------------------------------------------------------------------------------


def view_sides(cfg: Config) -> list[int]:
    """The side in pixels of each view that the pipeline makes; the largest is ``SIDE``."""
    sides = []
    for view in cfg.train_dataloader.dataset.pipeline[0].views:
        kind, each = view.get('type', ''), 1
        if 'Jigsaw' in kind:
            each = view.get('grid', 3) ** 2
        elif 'Context' in kind:
            each = 2 * view.pairs
        sides += [view.get('size') or view.get('patch', 64)] * (view.get('count', 1) * each)
    return [max(round(SIDE * side / max(sides) / 16) * 16, 32) for side in sides]


def crops(view: int, draw: torch.Generator) -> Tensor:
    """(B, 4) in pixels of an image of 100 x 80; even and odd views of the last image do not overlap.

    Whole pixels would make ties, which rounding decides: cells at the same distance, for one.
    """
    near = torch.randint(0, 15 * 64, (BATCH, 2), generator=draw)
    sides = torch.randint(0, 20 * 64, (BATCH, 2), generator=draw) + 64 * torch.tensor([55, 45])
    boxes = torch.cat([near, near + sides], 1).double() / 64
    boxes[-1, 0] += 50 * (view % 2)
    boxes[-1, 2] -= 25 * (1 - view % 2)
    return boxes


def objects(view: int, side: int, draw: torch.Generator) -> ViewRegions:
    """Four boxes an image, of all sizes. The first two are one object; one is not seen by view 1."""
    near = 0.4 * torch.rand(BATCH, 4, 2, generator=draw, dtype=torch.float64)
    share = 0.15 + 0.85 * torch.rand(BATCH, 4, 2, generator=draw, dtype=torch.float64)
    boxes = side * torch.cat([near, near + share * (1 - near)], -1)
    ids = torch.tensor([5, 5, 2, 9]).repeat(BATCH, 1)
    if view == 1:
        boxes[1, 3], ids[1, 3] = 0.0, -1
    return ViewRegions(boxes, ids)


def masks(grid: int, draw: torch.Generator) -> ViewRegions:
    """Sixteen masks an image, drawn with replacement out of those that have a cell; all cells have one."""
    labels = torch.randint(0, 6, (BATCH, grid * grid), generator=draw)
    ids = labels.gather(1, torch.randint(0, grid * grid, (BATCH, 16), generator=draw))
    share = 0.5 + 0.5 * torch.rand(BATCH, 1, grid * grid, generator=draw, dtype=torch.float64)
    shares = (labels[:, None] == ids[..., None]) * share
    boxes = torch.zeros(BATCH, 16, 4, dtype=torch.float64)
    return ViewRegions(boxes, ids, shares.unflatten(2, (grid, grid)))


def make_views(name: str, cfg: Config, step: int) -> Views:
    """The batch of a step, as the data preprocessor would leave it."""
    draw = torch.Generator().manual_seed(step)
    sides = view_sides(cfg)
    images = [torch.randn(BATCH, 3, s, s, generator=draw, dtype=torch.float64) for s in sides]
    found = {}
    if name.startswith('soco'):
        found['objects'] = [objects(v, s, draw) for v, s in enumerate(sides)]
    elif name.startswith('detcon'):
        strides = cfg.model.backbone.get('strides', (1, 2, 2, 2))
        found['masks'] = [masks(s // int(4 * torch.tensor(strides).prod()), draw) for s in sides]
    boxes = [crops(v, draw) for v in range(len(sides))]
    flipped = [torch.rand(BATCH, generator=draw) < 0.5 for _ in sides]
    if name.startswith('scrl'):
        found['overlap'] = overlap(boxes, flipped, sides)
    elif name.startswith('resim'):
        for key, config in cfg.train_dataloader.dataset.pipeline[0].regions.items():
            found[key] = windows(SlidingWindows(config.window, config.stride), boxes, flipped, sides)
    known = {}
    if name.startswith(('rotation', 'jigsaw', 'context')):
        (head,) = cfg.model.heads.values()
        classes = (head.projector.get('together') or head.projector).channels[-1]
        known['answers'] = torch.randint(0, classes, (len(sides), BATCH), generator=draw)
    elif name.endswith('captions'):
        known['tokens'] = torch.randint(1, 1024, (BATCH, 24), generator=draw)
    return Views(
        images=images,
        boxes=boxes,
        flipped=flipped,
        source_sizes=torch.tensor([[80.0, 100.0]] * BATCH, dtype=torch.float64),
        indices=INDICES[step],
        paths=[f'{i}.jpg' for i in INDICES[step].tolist()],
        photometric=[None] * len(sides),
        labels=LABELS[step],
        regions=found,
        **known,
    )


def overlap(boxes: list[Tensor], flipped: list[Tensor], sides: list[int]) -> list[ViewRegions]:
    """What SCRL compares: ten boxes of the part of the image that views 0 and 1 share.

    The last image has no such part: its boxes are the whole view, with the id -1.
    """
    near = torch.maximum(boxes[0][:, :2], boxes[1][:, :2])
    far = torch.minimum(boxes[0][:, 2:], boxes[1][:, 2:])
    number = torch.arange(10, dtype=torch.float64)
    start = torch.stack([number % 4 * 0.13, number % 3 * 0.17], -1)  # shares of the overlap
    end = start + torch.stack([0.35 + number % 5 * 0.04, 0.6 - number % 2 * 0.2], -1)
    extent = (far - near)[:, None]
    shared = torch.cat([near[:, None] + start * extent, near[:, None] + end * extent], -1)
    there = (far > near).all(1)[:, None]
    found = []
    for box, flip, side in zip(boxes, flipped, sides, strict=True):
        placed = boxes_to_view(shared, box, flip, (side, side))[0]
        whole = torch.tensor([0.0, 0, side, side], dtype=torch.float64)
        ids = torch.where(there, torch.arange(10), -1)
        found.append(ViewRegions(torch.where(there[..., None], placed, whole), ids))
    return found


def windows(
    selector: SlidingWindows, boxes: list[Tensor], flipped: list[Tensor], sides: list[int]
) -> list[ViewRegions]:
    """ReSim's windows, as the data worker finds them."""
    found = []
    for image in range(BATCH):
        drawn = [
            DrawnView(Crop(tuple(box[image].tolist()), (side, side), bool(flip[image])))
            for box, flip, side in zip(boxes, flipped, sides, strict=True)
        ]
        found.append(selector.choose({}, drawn))
    return stack(found)


# --- the numbers -------------------------------------------------------------------------------------------


def numbers(*values: Tensor | float) -> list[float]:
    """As floats of 12 digits."""
    found = [float(f'{float(x):.12g}') for x in values]
    return [int(x) if x.is_integer() and abs(x) < 1e6 else x for x in found]


def chosen(model: nn.Module) -> list[str]:
    """Old names of the weights whose gradients are stored.

    The first of the backbone and of each part of each head (projector, predictor), and others evenly.
    """
    trained = [old_name(n) for n, p in model.named_parameters() if p.requires_grad]
    trained = sorted(n for n in trained if n.endswith(('weight', 'weight_v', 'slots')))
    own = [n for n in trained if not n.startswith('target.')]
    parts = {'.'.join(n.split('.')[: 3 if n.startswith('heads.') else 1]): n for n in reversed(own)}
    names = set(parts.values())
    room = max(MOST - len(names), 0)
    names.update(own[(2 * i + 1) * len(own) // (2 * room)] for i in range(room))
    return sorted(names)


def gradients(model: nn.Module, names: list[str] | None) -> dict[str, list[float]]:
    """The norm of all gradients, and of the chosen ones norm and first four numbers."""
    grads = {old_name(n): p.grad for n, p in model.named_parameters() if p.grad is not None}
    zero = torch.zeros(4, dtype=torch.float64)
    total = torch.stack([g.norm() for g in grads.values()]).norm()
    found = {n: grads.get(n, zero) for n in names or chosen(model)}
    return {'all': numbers(total)} | {n: numbers(g.norm(), *g.flatten()[:4]) for n, g in found.items()}


def state(model: nn.Module) -> dict[str, list[float]]:
    """What the two steps left behind: sum and root of the sum of squares of weights, statistics, memories.

    Weights are summed by branch, the entries of batch norms by the part of the model they belong to. Each
    other buffer (queue, centre, bank, numbers per image) stands alone and has a third number, a sum weighted
    by position: order counts.
    """
    weights = {n for n, _ in model.named_parameters()}
    groups: dict[str, list[Tensor]] = {}
    for name, entry in model.state_dict().items():
        old = old_name(name)
        part = '.'.join(old.split('.')[: 3 if old.startswith('heads.') else 1])
        if name in weights:
            key = f'weights of {"target" if part == "target" else "online"}'
        elif old.endswith(('running_mean', 'running_var', 'num_batches_tracked')):
            key = f'norms of {part}'
        else:
            key = old
        groups.setdefault(key, []).append(entry.detach().double().flatten())
    found = {}
    for key, entries in sorted(groups.items()):
        x = torch.cat(entries)
        found[key] = numbers(x.sum(), x.norm())
        if ' ' not in key:
            found[key] += numbers(x @ torch.linspace(0, 1, len(x), dtype=x.dtype))
    return found


def run_step(model: nn.Module, views: Views, names: list[str] | None) -> dict[str, list[float]]:
    """Loss, backward, a step of SGD: what was logged and the gradients."""
    torch.manual_seed(0)
    model.zero_grad(set_to_none=True)
    logged = model.loss(views)
    sum(value for key, value in logged.items() if 'loss' in key).backward()
    found = {f'log/{key}': numbers(value.detach()) for key, value in logged.items()}
    found |= {f'gradient/{key}': value for key, value in gradients(model, names).items()}
    model.before_optimizer_step()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter -= 0.05 * parameter.grad
    model.after_optimizer_step()
    return found


def record(path: Path, names: list[str] | None = None) -> dict[str, list[float]]:
    """All numbers of a config; those of the first step come before those of the second.

    Args:
        path: of the config.
        names: old names of the weights whose gradients are asked for; by default :func:`chosen` says.
    """
    cfg = as_pinned(Config.fromfile(path), path.stem)
    model = build(cfg)
    first, second = (run_step(model, make_views(path.stem, cfg, step), names) for step in range(2))
    found = {key: values + second[key] for key, values in first.items()}
    return found | {f'state/{key}': values for key, values in state(model).items()}


def compared(path: Path, pinned: dict[str, list[float]]) -> list[str]:
    """Where a config is not as pinned, a line each."""
    from tests.pins.differences import differences

    names = [key.removeprefix('gradient/') for key in pinned if key.startswith('gradient/')]
    found = record(path, [name for name in names if name != 'all'])
    return differences(path.stem, found, pinned)


def main(words: list[str]) -> int:
    """Write or compare the pins of all configs, or of those whose names hold one of the words."""
    torch.set_num_threads(1)
    check, words = '--check' in words, [word for word in words if word != '--check']
    pins = json.loads(PINS.read_text()) if words or check else {}
    wrong = 0
    for path in PATHS:
        if words and not any(word in path.stem for word in words):
            continue
        if check:
            lines = compared(path, pins[path.stem])
            wrong += len(lines)
            print(path.stem, *lines, sep='\n  ', flush=True)
        else:
            pins[path.stem] = record(path)
            print(path.stem, flush=True)
    if not check:
        write(pins)
    return int(wrong > 0)


def write(pins: dict[str, dict]) -> None:
    """A line a config."""
    lines = (f'{json.dumps(name)}: {json.dumps(pins[name], separators=(",", ":"))}' for name in sorted(pins))
    PINS.write_text('{\n' + ',\n'.join(lines) + '\n}\n')


if __name__ == '__main__':
    sys.path.insert(0, str(Path(__file__).parents[2]))
    sys.exit(main(sys.argv[1:]))
