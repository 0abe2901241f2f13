"""Moves the target once per optimiser step."""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from densecl.registry import HOOKS


def unwrap(model):
    """The model inside DistributedDataParallel, or the model itself."""
    return model.module if is_model_wrapper(model) else model


@HOOKS.register_module()
class MomentumUpdateHook(Hook):
    """Calls ``model.after_optimizer_step()`` when the optimiser has stepped.

    Under gradient accumulation that is once every ``accumulative_counts`` iterations. It also tells the
    model the length of the run, and at the very start of a run copies the online branch into the
    target, whatever was loaded before.
    """

    priority = 'HIGH'

    def before_train(self, runner) -> None:
        """Tell the model the length of the run; make the target a copy where nothing was trained yet."""
        model = unwrap(runner.model)
        every = getattr(runner.optim_wrapper, '_accumulative_counts', 1)
        model.total_steps = -(-runner.max_iters // every)
        if model.steps == 0 and hasattr(model, 'init_target'):
            model.init_target()

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Move the target if the optimiser stepped in this iteration."""
        if runner.optim_wrapper.should_update():
            unwrap(runner.model).after_optimizer_step()
