"""Parameter groups by rules: few large groups, whose tensors an optimiser can update together."""

import re

from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS, OPTIMIZERS
from torch import nn

from densecl.engine.wrapped import unwrap
from densecl.models.backbones.layers import layers_of
from densecl.registry import OPTIM_WRAPPER_CONSTRUCTORS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class ParamGroupsConstructor:
    """Builds the optimiser with one parameter group for each combination of options that the rules give.

    mmengine's default constructor makes one group per parameter as soon as one parameter differs. Example::

        optim_wrapper = dict(
            optimizer=dict(type='LARS', lr=1.6, weight_decay=1e-6),
            constructor='ParamGroupsConstructor',
            paramwise_cfg=dict(rules=[dict(match='1d', lr_mult=0.024, decay_mult=0)]),
        )

    A rule's ``match`` is ``'1d'`` (parameters of at most one dimension: biases, norms) or a regular
    expression that is searched for in the parameter's name. All rules that match a parameter apply; later
    rules override earlier ones. Options of a rule:

    * ``lr_mult``, ``decay_mult``: factors on the optimiser's ``lr`` and ``weight_decay``;
    * ``layer_decay=d``, for backbone parameters: ``lr`` is multiplied by d once for each deeper layer, see
      :func:`~densecl.models.backbones.layers.layers_of`; the deepest layer has ``lr`` itself;
    * ``lr_ramp=(begin, length)``: see :class:`~densecl.engine.param_schedule.ParamSchedule`;
    * any argument of the optimiser itself, such as ``adapt=False`` of ``LARS``;
    * ``lr_fixed=True`` (``weight_decay_fixed``, ``momentum_fixed``): ``ParamSchedule`` does not change it.

    Parameters that no rule matches form group 0. Parameters that need no gradient when the optimiser is
    built are left out.

    Args:
        optim_wrapper_cfg: config of the optimizer wrapper, with ``optimizer``.
        paramwise_cfg: ``dict(rules=[dict(match=..., ...), ...])``.

    Raises:
        ValueError: a rule is malformed, matches no parameter, or sets an option that the optimiser lacks.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        cfg = dict(paramwise_cfg or {})
        self.rules = [dict(rule) for rule in cfg.pop('rules', [])]
        if cfg:
            raise ValueError(f'paramwise_cfg of ParamGroupsConstructor knows rules only, got {sorted(cfg)}')
        for rule in self.rules:
            if not isinstance(rule.get('match'), str):
                raise ValueError(f"paramwise_cfg.rules: a rule needs match='1d' or a name, got {rule}")
        self.wrapper_cfg = dict(optim_wrapper_cfg)
        self.optimizer_cfg = dict(self.wrapper_cfg.pop('optimizer'))

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer wrapper for the model's parameters."""
        groups = self.groups(unwrap(model))
        optimizer = OPTIMIZERS.build(dict(self.optimizer_cfg, params=groups))
        known = {f'{name}{end}' for name in optimizer.defaults for end in ('', '_fixed', '_ramp')}
        for group in optimizer.param_groups:
            unknown = set(group) - known - {'params', 'param_names'}
            if unknown:
                raise ValueError(
                    f'paramwise_cfg.rules: {type(optimizer).__name__} has no {sorted(unknown)}; options '
                    f'are lr_mult, decay_mult, layer_decay and {sorted(known)}'
                )
        cfg = dict(self.wrapper_cfg)
        cfg.setdefault('type', 'OptimWrapper')
        return OPTIM_WRAPPERS.build(cfg, default_args=dict(optimizer=optimizer))

    def groups(self, model: nn.Module) -> list[dict]:
        """Parameter groups of a model, as optimisers take them."""
        params = {name: param for name, param in model.named_parameters() if param.requires_grad}
        layers = layers_of(model.backbone) if hasattr(model, 'backbone') else {}
        deepest = max(layers.values(), default=0)
        above = {f'backbone.{name}': deepest - layer for name, layer in layers.items()}
        for rule in self.rules:
            if not any(_matches(rule['match'], *item) for item in params.items()):
                raise ValueError(
                    f'paramwise_cfg.rules: match={rule["match"]!r} matches none of the {len(params)} '
                    f'trainable parameters ({", ".join(list(params)[:3])}, ...)'
                )
        # Parameters that no rule changes come first.
        found: dict[str, dict] = {repr([]): dict(params=[])}
        for name, param in params.items():
            options = self._options(name, param, above.get(name, 0))
            key = repr(sorted(options.items()))
            found.setdefault(key, dict(params=[], **options))['params'].append(param)
        return [group for group in found.values() if group['params']]

    def _options(self, name: str, param: nn.Parameter, above: int) -> dict:
        """The options of a parameter; ``above`` is the number of backbone layers deeper than its own."""
        options = {}
        for rule in self.rules:
            if _matches(rule['match'], name, param):
                options.update({key: value for key, value in rule.items() if key != 'match'})
        if 'layer_decay' in options:
            options['lr_mult'] = options.get('lr_mult', 1.0) * options.pop('layer_decay') ** above
        return self._resolve(options)

    def _resolve(self, options: dict) -> dict:
        """Turn factors into values."""
        for factor, name in (('lr_mult', 'lr'), ('decay_mult', 'weight_decay')):
            if factor in options:
                if name not in self.optimizer_cfg:
                    raise ValueError(f'paramwise_cfg.rules: {factor} needs {name} in the optimizer config')
                options[name] = self.optimizer_cfg[name] * options.pop(factor)
        return options


def _matches(pattern: str, name: str, param: nn.Parameter) -> bool:
    return param.ndim <= 1 if pattern == '1d' else re.search(pattern, name) is not None
