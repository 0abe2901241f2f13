r"""What does a detector's box head say of boxes before it is trained: their class, and where the object lies?

    python benchmarks/box_head.py configs/detection/faster-rcnn_r18_fpn-bn_4conv1fc-bn_bccd.py \
        --weights random CHECKPOINT --train data/bccd/instances_train.json --test data/bccd/instances_val.json

Boxes of objects, shifted and stretched by up to a fifth, and boxes of the background go through backbone,
pyramid and box head, batch norm in training mode. A ridge regression from each layer's output (3 x 3 means
of a convolution's cells) says the class (mean accuracy of the classes and the background, per cent) and the
four offsets from box to object (R2). ``dead``: channels that fire for no test box, per cent. ``rank``: the
effective rank of the means over cells.
"""

import argparse
import logging
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import densecl.registry  # noqa: F401
from densecl.datasets.subset import evenly
from densecl.engine.one_line import call
from densecl.evaluation import rank_me
from densecl.evaluation.labelled import LabelledPart, scaled
from densecl.evaluation.labelled_coco import open_coco
from densecl.transfer.network import IMAGENET_MEAN, IMAGENET_STD


def jittered(boxes: np.ndarray, rng: np.random.Generator, most: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (n, 4) beside objects, and the offsets to these: shares of a side, logarithms of stretches."""
    sides = boxes[:, 2:] - boxes[:, :2]
    centres = (boxes[:, 2:] + boxes[:, :2]) / 2
    moved = centres + rng.uniform(-most, most, sides.shape) * sides
    stretched = sides * (1 + rng.uniform(-most, most, sides.shape))
    offsets = np.concatenate([(centres - moved) / stretched, np.log(sides / stretched)], 1)
    return np.concatenate([moved - stretched / 2, moved + stretched / 2], 1), offsets


def background(boxes: np.ndarray, size: tuple[int, int], count: int, rng: np.random.Generator) -> np.ndarray:
    """At most ``count`` squares of an eighth to a half of the shorter side that overlap no box by 0.3."""
    height, width = size
    sides = np.exp(rng.uniform(np.log(min(size) / 8), np.log(min(size) / 2), (count, 1)))
    corners = rng.uniform(size=(count, 2)) * (np.array([width, height]) - sides)
    squares = np.concatenate([corners, corners + sides], 1)
    low = np.maximum(squares[:, None, :2], boxes[None, :, :2])
    common = np.clip(np.minimum(squares[:, None, 2:], boxes[None, :, 2:]) - low, 0, None).prod(2)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    return squares[(common / (sides**2 + areas - common)).max(1) < 0.3]


def regions(part: LabelledPart, size: tuple[int, int], seed: int) -> tuple[Tensor, ...]:
    """Images (N, 3, h, w), rois (R, 5), class ids (R,) and offsets (R, 4); 0 of the background."""
    rng, rows, images = np.random.default_rng(seed), [], []
    for i, path in enumerate(part.images):
        images.append((scaled(part.decode(path), size).astype(np.float32) - IMAGENET_MEAN) / IMAGENET_STD)
        boxes, ids = part.boxes(i)
        boxes = boxes * (size[1], size[0], size[1], size[0])
        if not len(boxes):
            continue
        near, offsets = jittered(boxes, rng)
        far = background(boxes, size, 2 * len(boxes), rng)
        told = np.concatenate([ids[:, None], offsets], 1)
        told = np.concatenate([told, np.zeros((len(far), 5))])
        rows.append(np.concatenate([np.full((len(told), 1), i), np.concatenate([near, far]), told], 1))
    found = torch.from_numpy(np.concatenate(rows).astype(np.float32))
    images = torch.from_numpy(np.stack(images).astype(np.float32)).permute(0, 3, 1, 2).contiguous()
    return images, found[:, :5], found[:, 5].long(), found[:, 6:]


@torch.no_grad()
def layers(model: nn.Module, images: Tensor, rois: Tensor) -> dict[str, Tensor]:
    """What each layer of a 4conv1fc box head gives for the regions (R, 5), first what is pooled."""
    model.train()
    parts = [model.extract_feat(part) for part in images.split(16)]
    pyramid = [torch.cat(level) for level in zip(*parts, strict=True)]
    extract, head = model.roi_head.bbox_roi_extractor, model.roi_head.bbox_head
    x = extract(pyramid[: extract.num_inputs], rois)
    found = {'pooled': x}
    for i, conv in enumerate(head.shared_convs):
        x = found[f'conv {i + 1}'] = conv(x)
    x = x.flatten(1)
    for i, linear in enumerate(head.shared_fcs):
        x = found[f'fc {i + 1}'] = F.relu(linear(x))
    return found


def ridge(x: Tensor, y: Tensor, penalty: float) -> Tensor:
    """Weights (C + 1, D) that minimise mean ``(x w + b - y)^2 + penalty w^2``; the last row is b."""
    x = _with_one(x)
    diagonal = torch.full((x.shape[1],), penalty * len(x), dtype=x.dtype)
    diagonal[-1] = 0
    return torch.linalg.solve(x.T @ x + diagonal.diag(), x.T @ y)


def _with_one(x: Tensor) -> Tensor:
    return torch.cat([x, x.new_ones(len(x), 1)], 1)


def told(train: tuple[Tensor, ...], test: tuple[Tensor, ...], penalty: float = 0.1) -> tuple[float, float]:
    """Mean accuracy of the classes in per cent, and R2 of the objects' offsets, mean of the four.

    ``train`` and ``test`` are features (R, C), class ids (R,) and offsets (R, 4).
    """
    (x, ids, offsets), (queries, truth, wanted) = train, test
    # one scale for all channels: by its own, one that fires for one box in a thousand would be huge there
    mean, scale = x.mean(0), x.var(0).mean().sqrt()
    x, queries = (((y - mean) / scale).double() for y in (x, queries))
    weights = ridge(x, F.one_hot(ids).double(), penalty)
    right = (_with_one(queries) @ weights).argmax(1) == truth
    accuracy = torch.stack([right[truth == i].double().mean() for i in truth.unique()]).mean()
    near, wanted = truth > 0, wanted[truth > 0].double()
    guess = _with_one(queries[near]) @ ridge(x[ids > 0], offsets[ids > 0].double(), penalty)
    r2 = 1 - (guess - wanted).square().sum(0) / (wanted - wanted.mean(0)).square().sum(0)
    return 100 * float(accuracy), float(r2.mean())


def measure(model: nn.Module, train: tuple[Tensor, ...], test: tuple[Tensor, ...]) -> list[tuple]:
    """A row a layer: name, accuracy, R2, dead, rank; ``train`` and ``test`` are of :func:`regions`."""
    rows, (seen, shown) = [], (layers(model, images, rois) for images, rois, *_ in (train, test))
    for name in seen:
        x, queries = (
            (y if y.ndim == 2 else F.adaptive_avg_pool2d(y, 3).flatten(1)) for y in (seen[name], shown[name])
        )
        means = shown[name] if shown[name].ndim == 2 else shown[name].mean((2, 3))
        dead = 100 * float((means == 0).all(0).float().mean())
        rank = float(rank_me(means - means.mean(0)))
        rows.append((name, *told((x, *train[2:]), (queries, *test[2:])), dead, rank))
    return rows


def detector(config: str, weights: str, seed: int) -> nn.Module:
    """The detector of a config, from weights or ``random``."""
    from mmdet.registry import MODELS
    from mmengine.registry import DefaultScope

    from densecl.engine.launch import read_config
    from densecl.transfer import load_backbone

    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(read_config(config).model)
        model.init_weights()
    if weights != 'random':
        print(load_backbone(model, weights))
    return model


def main() -> None:
    """Print a table of each start."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='of a detector with a Shared4Conv1FCBBoxHead, or one like it')
    parser.add_argument('--weights', nargs='+', required=True, help='checkpoints, or random')
    parser.add_argument('--train', required=True, help='COCO json that the regressions learn from')
    parser.add_argument('--test', required=True, help='COCO json that they are tested on')
    parser.add_argument('--images', type=int, default=48, help='of each, evenly spread')
    parser.add_argument('--size', type=int, nargs=2, default=(240, 320), help='height and width, pixels')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    logging.disable(logging.INFO)
    sets = []
    for seed, path in enumerate((args.train, args.test)):
        part = open_coco(Path(path)).parts['all']
        part = part.part(evenly(len(part), min(args.images, len(part))))
        sets.append(regions(part, tuple(args.size), args.seed + seed))
    for weights in args.weights:
        print(f'\n{weights}, {len(sets[0][1])} and {len(sets[1][1])} boxes')
        print('| layer | accuracy | R2 | dead | rank |\n|---|---|---|---|---|')
        for name, accuracy, r2, dead, rank in measure(detector(args.config, weights, args.seed), *sets):
            print(f'| {name} | {accuracy:.1f} | {r2:.3f} | {dead:.0f} | {rank:.1f} |', flush=True)


if __name__ == '__main__':
    call(main)
