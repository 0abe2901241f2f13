"""Shards parameters, gradients and optimiser state over the processes with FSDP2, block by block."""

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from densecl.distributed import spread_like
from densecl.models.backbones.recompute import blocks_of
from densecl.models.necks.prototypes import UnitPrototypes


def shard(model: nn.Module) -> nn.Module:
    """Shard a pretrainer's parameters, online and target, over all processes, in place.

    Each process keeps a part of every parameter, of its gradient and of its optimiser state. The parameters
    of a block of a backbone are gathered when the block is used (ZeRO stage 3, Rajbhandari et al., 2020).
    State dicts of the model have whole tensors under the usual names on every process; making one is a
    collective operation. Buffers (batch statistics, queues) are not sharded.

    Args:
        model: initialised, with the same weights in every process.

    Raises:
        ValueError: a backbone is compiled as a whole, or a parameter is a single number.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    if getattr(model, 'compile_backbone', False):
        raise ValueError(
            '--shard puts blocks together one at a time, --compile wants whole backbones: leave out one'
        )
    for name, parameter in model.named_parameters():
        if parameter.ndim == 0:
            raise ValueError(
                f'--shard cannot spread {name}, a single number: leave out one of them '
                '(a learned temperature can be a fixed one)'
            )
    for parameter in model.parameters():  # FSDP takes only this layout; channels-last images stay so
        parameter.data = parameter.data.contiguous()
    device = next(model.parameters()).device.type
    mesh = init_device_mesh(device, (torch.distributed.get_world_size(),))
    for name, backbone in model.named_modules():
        if name.rpartition('.')[2] == 'backbone':
            for block in blocks_of(backbone).values():
                fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    model.register_forward_pre_hook(_normalize_prototypes, prepend=True)
    model.register_state_dict_post_hook(_gather_parameters)
    for module in model.modules():
        if any(isinstance(p, DTensor) for p in module._parameters.values()):
            module.register_load_state_dict_pre_hook(_scatter_parameters)
    return model


def whole(x: Tensor) -> Tensor:
    """Turn a sharded tensor into an ordinary one; a collective operation."""
    return x.full_tensor() if isinstance(x, DTensor) else x


def keep_state_whole(optimizer: Optimizer) -> None:
    """Make the optimiser's state dict save and read whole tensors, as in an unsharded run."""
    optimizer.register_state_dict_post_hook(_gather_state)
    optimizer.register_load_state_dict_post_hook(_scatter_state)


def _normalize_prototypes(model: nn.Module, _) -> None:
    """Normalise the parts, before FSDP replaces them by a gathered copy: what changes this copy is lost."""
    if not (model.training and torch.is_grad_enabled()):
        return
    model.reshard()  # a forward pass without gradient leaves the copies
    for module in model.modules():
        if isinstance(module, UnitPrototypes) and module.weight.requires_grad:
            module.normalize_()


def _gather_parameters(module: nn.Module, state: dict, prefix: str, _) -> None:
    state.update({name: whole(x.detach()) for name, x in state.items() if isinstance(x, Tensor)})


def _scatter_parameters(module: nn.Module, state: dict, prefix: str, *_) -> None:
    for name, parameter in module._parameters.items():
        if prefix + name in state:
            state[prefix + name] = spread_like(state[prefix + name], parameter)


def _gather_state(optimizer: Optimizer, state: dict) -> dict:
    each = state['state'].items()
    return {**state, 'state': {number: {k: _whole(v) for k, v in own.items()} for number, own in each}}


def _whole(value):
    return whole(value) if isinstance(value, Tensor) else value


def _scatter_state(optimizer: Optimizer) -> None:
    for parameter, own in optimizer.state.items():
        for name, value in own.items():
            if isinstance(value, Tensor) and value.ndim:
                own[name] = spread_like(value, parameter)
