"""Tells the model when the optimiser steps."""

from mmengine.hooks import Hook

from densecl.engine.wrapped import unwrap
from densecl.models.pretrainers import Pretrainer
from densecl.registry import HOOKS


@HOOKS.register_module()
class MomentumUpdateHook(Hook):
    """Calls ``model.before_optimizer_step()`` and ``after_optimizer_step()`` around each optimiser step.

    The first drops the gradients of the parts that are frozen at that step. The second updates the target and
    advances the schedules. With gradient accumulation this happens once every ``accumulative_counts``
    iterations; ``model.ends_step`` makes the queues change only then, too. A step that ``FiniteStepHook``
    skips only advances the schedules.

    The hook also sets the model's clock to the length and position of the run. At the very start of a run it
    copies the online branch into the target, whatever was loaded before, unless ``keep_target`` is set.

    It does nothing for a model of your own that is no ``Pretrainer``.
    """

    priority = 'HIGH'
    _handle = None
    _told = False

    def before_train(self, runner) -> None:
        """Set the clock; copy the online branch into the target if nothing was trained yet."""
        model = unwrap(runner.model)
        self._told = isinstance(model, Pretrainer)
        if not self._told:
            return
        every = getattr(runner.optim_wrapper, '_accumulative_counts', 1)
        model.clock.total = -(-runner.max_iters // every)
        model.clock.epoch = len(runner.train_dataloader) / every
        # The position comes from the loop. That of a checkpoint is wrong if it is from another run
        # (load_from), or from a run with another number of steps per epoch.
        if model.set_steps(runner.iter // every):
            runner.logger.info(f'schedules of the model go on at optimiser step {model.steps}')
        if model.steps == 0 and hasattr(model, 'init_target'):
            if getattr(model, 'keep_target', False) and not model.has_target:
                raise ValueError(
                    'model.keep_target=True goes on with the target of an earlier run, but no checkpoint '
                    'with one was loaded: give load_from=work_dirs/.../epoch_N.pth'
                )
            model.init_target()
        self._handle = runner.optim_wrapper.optimizer.register_step_pre_hook(
            lambda *_: model.before_optimizer_step()
        )

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        """Tell the model whether the optimiser will step in this iteration."""
        if self._told:
            unwrap(runner.model).ends_step = runner.optim_wrapper.should_sync()

    def after_train(self, runner) -> None:
        """Remove the calls around the optimiser's step."""
        if self._told:
            unwrap(runner.model).ends_step = True
            self._handle.remove()

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Update the target if the optimiser stepped in this iteration."""
        if self._told and runner.optim_wrapper.should_update():
            unwrap(runner.model).after_optimizer_step(getattr(runner.optim_wrapper, 'finite', None))
