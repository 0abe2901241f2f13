"""Fine-tuning: first only the heads learn. The backbone's batch statistics can be frozen."""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from torch import nn

from densecl.engine.wrapped import unwrap
from densecl.models.pretrainers.start import hold_statistics
from densecl.registry import HOOKS


@HOOKS.register_module()
class HeadsFirstHook(Hook):
    """Freezes the backbone for the first iterations, then trains everything.

    New layers send random gradients. A pretrained backbone that is frozen until they settle keeps more of
    what it learnt (Kumar et al., ICLR 2022, "linear probing, then fine-tuning"). A frozen backbone needs no
    backward pass, so these iterations are cheaper. It works with any backbone, also from outside mm.

    Args:
        iters: iterations with a frozen backbone; 0 for none.
        norm_eval: freeze the backbone's batch statistics for the whole training, as ``norm_eval`` of mm's
            backbones does. While the backbone is frozen, its batch statistics are frozen in any case.
    """

    def __init__(self, iters: int = 0, norm_eval: bool = False) -> None:
        if iters < 0:
            raise ValueError(f'HeadsFirstHook: iters must be at least 0, got {iters}')
        self.iters = iters
        self.norm_eval = norm_eval
        self._trainable: list[nn.Parameter] = []

    def before_train(self, runner) -> None:
        """Freeze the backbone, unless a resumed run is beyond that point."""
        self._trainable = []
        if runner.iter < self.iters:
            backbone = unwrap(runner.model).backbone
            self._trainable = [p for p in backbone.parameters() if p.requires_grad]
            self._require_grad(runner, False)
            runner.logger.info(f'heads first: the backbone waits until iteration {self.iters}')

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Unfreeze the backbone when it is time; freeze the statistics that ``model.train()`` unfroze."""
        waits = runner.iter < self.iters
        backbone = unwrap(runner.model).backbone
        if self._trainable and not waits:
            self._require_grad(runner, True)
            self._trainable = []
            backbone.train()
        if waits or self.norm_eval:
            hold_statistics(backbone)

    def after_train(self, runner) -> None:
        """Leave nothing frozen."""
        self._require_grad(runner, True)

    def _require_grad(self, runner, value: bool) -> None:
        """Freeze or unfreeze the backbone, in all processes at the same step.

        Data-parallel training waits for a gradient of every parameter that needed one when the model was
        wrapped.
        """
        for parameter in self._trainable:
            parameter.requires_grad_(value)
        if self._trainable and is_model_wrapper(runner.model):
            runner.model = runner.wrap_model(runner.cfg.get('model_wrapper_cfg'), unwrap(runner.model))
