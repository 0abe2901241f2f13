"""The host never waits for the device in a step: fake tensors play a CUDA device and raise where it would."""

import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from torch._subclasses.fake_tensor import FakeTensorMode

from densecl.structures import Views

sys.path.insert(0, str(Path(__file__).parents[1]))
from pins import make  # noqa: E402

# What waits, and says so: slots that have an answer are chosen for the predictor.
WAITING = ('slotcon',)


def on_device(mode, tensor):
    """A fake tensor of the same shape that says it is on a CUDA device."""
    fake = mode.from_tensor(tensor)
    with mode:
        return fake.to('cuda')


def move(mode, module):
    """Every parameter and buffer of a module, in place."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                fake = torch.nn.Parameter(on_device(mode, parameter.detach()), parameter.requires_grad)
                part._parameters[name] = fake
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = on_device(mode, buffer)


def moved(mode, value):
    """A value of :class:`Views` with its tensors on the device."""
    if isinstance(value, torch.Tensor):
        return on_device(mode, value)
    if isinstance(value, list):
        return [moved(mode, x) for x in value]
    if isinstance(value, dict):
        return {k: moved(mode, x) for k, x in value.items()}
    if hasattr(value, 'ids'):
        return type(value)(*(moved(mode, getattr(value, n)) for n in ('boxes', 'ids', 'masks')))
    return value


@pytest.mark.parametrize('path', make.PATHS, ids=lambda path: path.stem)
def test_a_step(path, monkeypatch):
    monkeypatch.setattr(torch.Tensor, 'pin_memory', lambda self: self)  # fake tensors know no pinned memory
    cfg = Config.fromfile(path)
    model = make.build(cfg)
    views = make.make_views(path.stem, cfg, 0)
    mode = FakeTensorMode()
    move(mode, model)
    views = Views(**{k: moved(mode, v) for k, v in vars(views).items()})
    with mode:
        if path.stem.startswith(WAITING):
            with pytest.raises(Exception, match='nonzero'):
                model.loss(views)
            return
        losses = model.loss(views)
    assert all(value.device.type == 'cuda' for value in losses.values())


def test_a_step_with_low_rank_adapters():
    """Of a momentum pretrainer that also has a frozen start."""
    from tests.models.backbones.test_low_rank import pretrainer
    from tests.models.pretrainers.test_momentum import batch

    model, mode = pretrainer(), FakeTensorMode()
    move(mode, model)
    views = Views(**{k: moved(mode, v) for k, v in vars(batch()).items()})
    with mode:
        losses = model.loss(views)
    assert {'loss_image', 'loss_anchor'} <= losses.keys()
    assert all(value.device.type == 'cuda' for value in losses.values())
