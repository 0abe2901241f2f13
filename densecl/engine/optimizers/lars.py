"""LARS in the three forms that the official codes use."""

import torch
from torch.optim import Optimizer

from densecl.distributed import is_spread, local, tensor_norms
from densecl.messages import check_choice
from densecl.registry import OPTIMIZERS

_VARIANTS = ('classic', 'popular', 'larc')


@OPTIMIZERS.register_module()
class LARS(Optimizer):
    """SGD with momentum whose step on each weight is scaled to the size of that weight.

    With gradient g, weight w, decay d, trust t, momentum m and buffer v, per parameter tensor:

    ========== =============================================================== =====================
    variant    update                                                          official codes
    ========== =============================================================== =====================
    classic    u = g + d w;  r = t |w| / |u|;  v = m v + lr r u;  w = w - v    SimCLR, FNC
    popular    u = g + d w;  r = t |w| / |u|;  v = m v + r u;  w = w - lr v    BYOL, MoCo v3, VICReg,
                                                                               Barlow Twins, DirectCLR
    larc       r = t |w| / (|g| + d |w| + 1e-8);  v = m v + r (g + d w);       SwAV (apex, clip=False)
               w = w - lr v
    ========== =============================================================== =====================

    r is 1 if |w| or |u| is 0. In ``larc`` r is 1 if |w| is 0, and a weight with zero gradient is not decayed
    either, as in apex. ``classic`` and ``popular`` differ only while lr changes. There is no Nesterov
    momentum. A step does not wait for the device.

    You et al., Large batch training of convolutional networks, 2017 (arXiv:1708.03888), algorithm 1.

    Args:
        params: parameters or parameter groups; a group may have its own value of every argument.
        lr: learning rate.
        momentum: m.
        weight_decay: d.
        trust: t.
        variant: ``'classic'``, ``'popular'`` or ``'larc'``.
        exclude: ``'1d'``: no decay and r = 1 for parameters of at most one dimension (biases, norms).
            ``None`` excludes nothing. ``'auto'`` means ``None`` for ``larc`` and ``'1d'`` otherwise.
        adapt: False sets r = 1, with decay.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        params,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust: float = 0.001,
        variant: str = 'popular',
        exclude: str | None = 'auto',
        adapt: bool = True,
    ) -> None:
        options = dict(lr=lr, momentum=momentum, weight_decay=weight_decay, trust=trust)
        super().__init__(params, dict(options, variant=variant, exclude=exclude, adapt=adapt))

    def add_param_group(self, param_group: dict) -> None:
        """Add a group of parameters; its options are checked."""
        group = dict(self.defaults, **param_group)
        for name in ('lr', 'momentum', 'weight_decay', 'trust'):
            if group[name] < 0:
                raise ValueError(f'LARS: {name} must be >= 0, got {group[name]}')
        check_choice('LARS: variant', group['variant'], _VARIANTS)
        if check_choice('LARS: exclude', group['exclude'], ('1d', None, 'auto')) == 'auto':
            group['exclude'] = None if group['variant'] == 'larc' else '1d'
        super().add_param_group(group)

    @torch.no_grad()
    def step(self, closure=None):
        """Update all parameters that have a gradient.

        Args:
            closure: computes the loss anew and returns it.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group['params'] if p.grad is not None]
            excluded = [group['exclude'] == '1d' and p.ndim <= 1 for p in params]
            plain = [p for p, out in zip(params, excluded, strict=True) if out]
            rest = [p for p, out in zip(params, excluded, strict=True) if not out]
            if plain:
                self._update(plain, group, decay=0.0, adapt=False)
            if rest:
                self._update(rest, group, group['weight_decay'], group['adapt'])
        return loss

    def _update(self, params: list, group: dict, decay: float, adapt: bool) -> None:
        """One step of parameters that have the same options."""
        spread = is_spread(params[0])
        buffers = [local(self._buffer(p)) for p in params]
        grads, params = [local(p.grad) for p in params], [local(p) for p in params]
        updates = torch._foreach_add(grads, params, alpha=decay) if decay else grads
        inside, outside = (group['lr'], 1) if group['variant'] == 'classic' else (1, group['lr'])
        torch._foreach_mul_(buffers, group['momentum'])
        if adapt:
            ratios = _trust_ratios(params, grads, updates, decay, group, spread)
            torch._foreach_addcmul_(buffers, updates, ratios, value=inside)
        else:
            torch._foreach_add_(buffers, updates, alpha=inside)
        torch._foreach_add_(params, buffers, alpha=-outside)

    def _buffer(self, param: torch.Tensor) -> torch.Tensor:
        state = self.state[param]
        if 'momentum_buffer' not in state:
            state['momentum_buffer'] = torch.zeros_like(param)
        return state['momentum_buffer']


def _trust_ratios(
    params, grads, updates, decay: float, group: dict, spread: bool
) -> tuple[torch.Tensor, ...]:
    """r of each parameter as a 0-dimensional tensor on its device."""
    weight = tensor_norms(params, spread)
    if group['variant'] == 'larc':
        grad = tensor_norms(grads, spread)
        ratio = group['trust'] * weight / (grad + decay * weight + 1e-8)
        return (torch.where(weight > 0, ratio, 1.0) * (grad > 0)).unbind()
    update = tensor_norms(updates, spread)
    ratio = group['trust'] * weight / update
    return torch.where((weight > 0) & (update > 0), ratio, 1.0).unbind()
