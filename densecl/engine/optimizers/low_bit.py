"""Optimisers of torchao that store their state in 8 or 4 bits per number."""

from torch.optim import Optimizer

from densecl.messages import check_choice
from densecl.registry import OPTIMIZERS

_KINDS = ('Adam8bit', 'Adam4bit', 'AdamW8bit', 'AdamW4bit', 'AdamFp8', 'AdamWFp8')


@OPTIMIZERS.register_module('TorchAO')
def torchao_optimizer(params, kind: str = 'AdamW8bit', **kwargs) -> Optimizer:
    """An optimiser of torchao; its state is at most a quarter of Adam's (Dettmers et al., ICLR 2022).

    Args:
        params: parameters or parameter groups; tensors of fewer than 4,096 numbers keep a float32 state.
        kind: ``'AdamW8bit'``, ``'AdamW4bit'``, ``'AdamWFp8'``, or the same of Adam.
        **kwargs: ``lr``, ``betas``, ``eps``, ``weight_decay``, ...

    Raises:
        ImportError: torchao is not installed.
        ValueError: there is no such kind.
    """
    check_choice('optimizer.kind of TorchAO', kind, _KINDS)
    try:
        from torchao import optim
    except ImportError as error:
        raise ImportError('optimizer.type=TorchAO needs torchao: pip install torchao') from error
    return getattr(optim, kind)(params, **kwargs)
