"""The step that a plan counts, run for real, and what it took."""

import copy
from contextlib import nullcontext

import torch
from mmengine.optim import build_optim_wrapper
from torch.profiler import ProfilerActivity, profile

from densecl.planning.counting import DTYPES, Step
from densecl.planning.fake import map_views


def peak_of_passes(step: Step, batch: int, precision: str) -> int:
    """Bytes that torch's allocator hands out at most while losses and gradients are computed, on the CPU."""
    times = batch // len(step.views.indices)
    views = map_views(step.views, times, lambda x: x.repeat(times, *[1] * (x.ndim - 1)))
    model = copy.deepcopy(step.model)
    for parameter in model.parameters():  # not drawn when it was built
        parameter.data.normal_(std=0.02)
    build_optim_wrapper(model, step.optim_wrapper)
    dtype = DTYPES[precision]
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        with torch.autocast('cpu', dtype=dtype) if dtype else nullcontext():
            losses = model(views, mode='loss')
            loss = sum(value for name, value in losses.items() if name.startswith('loss'))
        loss.backward()
    live = peak = 0
    for event in profiled.profiler.kineto_results.events():
        if event.name() == '[memory]':
            live += event.nbytes()
            peak = max(peak, live)
    return peak
