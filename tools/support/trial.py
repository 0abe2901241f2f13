"""Try a stock config of mmdet or mmseg: build it small, train one step, predict once.

Used by ``tools/support_matrix.py`` and the tests; nothing is downloaded.
"""

import math
from typing import Any, NamedTuple

import torch
from mmengine.config import Config

from .batches import detection_batch, segmentation_batch
from .small_config import fewest_classes, loads_masks, small_config


class Trial(NamedTuple):
    """What came out: the training losses and the prediction for one image."""

    losses: dict[str, float]
    prediction: Any


def try_model(name: str, size: int = 96, depth: int | None = 18, device: str = 'cpu') -> Trial:
    """Build the model of a stock config, train it one step and predict.

    Args:
        name: As for `small_config`.
        size: Side of the images in pixels.
        depth: Depth of a ResNet backbone; None keeps it.
        device: Where to run.

    Raises:
        FloatingPointError: If a loss is not finite or no parameter got a gradient.
        NotImplementedError: If the model needs an operator without a stand-in.
    """
    cfg = small_config(name, size, depth)
    torch.manual_seed(0)
    model = build(cfg).to(device)
    data = _batch(cfg, size, fewest_classes(cfg.model), count=2)
    losses = train_step(model, data)
    model.eval()
    with torch.no_grad():
        prediction = model.test_step(_batch(cfg, size, 2, count=1))[0]
    return Trial(losses, prediction)


def _batch(cfg: Config, size: int, num_classes: int, count: int) -> dict[str, list]:
    """Return a batch with what the model's own pipeline would load, and nothing else."""
    if cfg.get('default_scope') == 'mmseg':
        return segmentation_batch(size, num_classes, count)
    data = detection_batch(size, num_classes, count)
    for sample in data['data_samples']:
        if not loads_masks(cfg):
            del sample.gt_instances.masks
        if 'rpn_head' in cfg.model:
            del sample.proposals
    return data


def build(cfg: Config) -> torch.nn.Module:
    """Return the initialised model of a mmdet or mmseg config."""
    scope = cfg.get('default_scope', 'mmdet')
    if scope == 'mmseg':
        from mmseg.registry import MODELS
        from mmseg.utils import register_all_modules
    else:
        from mmdet.registry import MODELS
        from mmdet.utils import register_all_modules
    register_all_modules(init_default_scope=True)
    model = MODELS.build(cfg.model)
    model.init_weights()
    _pretend_first_iteration(model)
    return model


def _pretend_first_iteration(model: torch.nn.Module) -> None:
    """Set what a runner tells models and batch augmentations about its progress."""
    from mmengine.logging import MessageHub

    hub = MessageHub.get_current_instance()
    for key, value in {'iter': 0, 'epoch': 0, 'max_iters': 1, 'max_epochs': 1}.items():
        hub.update_info(key, value)
    for module in model.modules():
        if hasattr(module, 'epoch'):
            module.epoch = 0


def train_step(model: torch.nn.Module, data: dict) -> dict[str, float]:
    """Take one step of SGD and return the losses.

    Raises:
        FloatingPointError: If a loss is not finite or no parameter got a gradient.
    """
    model.train()
    data = model.data_preprocessor(data, training=True)
    losses, log = model.parse_losses(model(**data, mode='loss'))
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    losses.backward()
    largest = max(float(p.grad.abs().max()) for p in model.parameters() if p.grad is not None)
    values = {key: float(value.detach()) for key, value in log.items()}
    if not math.isfinite(values['loss']) or not math.isfinite(largest) or largest == 0:
        raise FloatingPointError(f'losses {values}, largest gradient {largest}')
    # Losses of an untrained model can be huge; the step must not break the prediction.
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return values
