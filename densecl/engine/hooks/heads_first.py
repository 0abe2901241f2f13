"""Fine-tuning: the heads learn alone at first, and batch statistics of the backbone may be held."""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from densecl.engine.wrapped import unwrap
from densecl.registry import HOOKS


@HOOKS.register_module()
class HeadsFirstHook(Hook):
    """Trains everything but the backbone for the first iterations, then everything.

    New layers send random gradients; a pretrained backbone that waits for them to settle keeps more of what
    it knows (Kumar et al., ICLR 2022, "linear probing, then fine-tuning"). While it waits it needs no
    backward pass, so these iterations are cheaper. It works for any backbone, of mm or not.

    Args:
        iters: iterations with the heads alone; 0 for none.
        norm_eval: hold the backbone's batch statistics throughout, as mm's backbones do under this name.
            While the backbone waits they are held anyhow.
    """

    def __init__(self, iters: int = 0, norm_eval: bool = False) -> None:
        if iters < 0:
            raise ValueError(f'HeadsFirstHook: iters must be at least 0, got {iters}')
        self.iters = iters
        self.norm_eval = norm_eval
        self._trainable: list[nn.Parameter] = []

    def before_train(self, runner) -> None:
        """Stop the backbone, unless a resumed run is beyond that point."""
        self._trainable = []
        if runner.iter < self.iters:
            backbone = unwrap(runner.model).backbone
            self._trainable = [p for p in backbone.parameters() if p.requires_grad]
            self._require_grad(runner, False)
            runner.logger.info(f'heads first: the backbone waits until iteration {self.iters}')

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Let the backbone go when it is time; hold statistics, which ``model.train()`` lets go."""
        waits = runner.iter < self.iters
        backbone = unwrap(runner.model).backbone
        if self._trainable and not waits:
            self._require_grad(runner, True)
            self._trainable = []
            backbone.train()
        if waits or self.norm_eval:
            for module in backbone.modules():
                if isinstance(module, _BatchNorm) and module.training:
                    module.eval()

    def after_train(self, runner) -> None:
        """Leave nothing stopped behind."""
        self._require_grad(runner, True)

    def _require_grad(self, runner, value: bool) -> None:
        """Stop the backbone or let it go; of several processes, in all of them at once.

        Data-parallel training waits for a gradient of whatever needed one when the model was wrapped.
        """
        for parameter in self._trainable:
            parameter.requires_grad_(value)
        if self._trainable and is_model_wrapper(runner.model):
            runner.model = runner.wrap_model(runner.cfg.get('model_wrapper_cfg'), unwrap(runner.model))
