"""LAMB, from timm."""

from torch.optim import Optimizer

from densecl.registry import OPTIMIZERS


@OPTIMIZERS.register_module('LAMB')
def lamb(params, **kwargs) -> Optimizer:
    """timm's LAMB (You et al., ICLR 2020), under the name that configs use.

    Args:
        params: parameters or parameter groups. Only parameters with a weight decay get LAMB's trust ratio.
        **kwargs: ``lr``, ``betas``, ``weight_decay``, and ``max_grad_norm`` (1 by default): the norm over all
            gradients is clipped to it first.

    Raises:
        ImportError: timm is not installed.
    """
    try:
        from timm.optim import Lamb
    except ImportError as error:
        raise ImportError('optimizer.type=LAMB needs timm: pip install timm') from error
    return Lamb(params, **kwargs)
