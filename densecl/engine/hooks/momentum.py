"""Tells the model when the optimiser steps."""

from mmengine.hooks import Hook

from densecl.engine.wrapped import unwrap
from densecl.registry import HOOKS


@HOOKS.register_module()
class MomentumUpdateHook(Hook):
    """Calls ``model.before_optimizer_step()`` and ``after_optimizer_step()`` around each optimiser step.

    The first drops the gradients of what is frozen at the time, the second moves the target and advances the
    schedules; under gradient accumulation that is once every ``accumulative_counts`` iterations, and queues
    move then, too: ``model.ends_step``. One that ``FiniteStepHook`` leaves out advances the schedules only.
    The hook also sets the model's clock to the length and position of the run, and at the very start of a run
    copies the online branch into the target, whatever was loaded before, unless it has ``keep_target``.
    """

    priority = 'HIGH'
    _handle = None

    def before_train(self, runner) -> None:
        """Set the clock; make the target a copy where nothing was trained yet."""
        model = unwrap(runner.model)
        every = getattr(runner.optim_wrapper, '_accumulative_counts', 1)
        model.clock.total = -(-runner.max_iters // every)
        model.clock.epoch = len(runner.train_dataloader) / every
        # Of a checkpoint from another run (load_from), or from one with other steps an epoch, the
        # position would be wrong: the loop knows.
        if model.set_steps(runner.iter // every):
            runner.logger.info(f'schedules of the model go on at optimiser step {model.steps}')
        if model.steps == 0 and hasattr(model, 'init_target'):
            if getattr(model, 'keep_target', False) and not model._has_target:
                raise ValueError(
                    'model.keep_target=True goes on with the target of an earlier run, but no checkpoint '
                    'with one was loaded: give load_from=work_dirs/.../epoch_N.pth'
                )
            model.init_target()
        self._handle = runner.optim_wrapper.optimizer.register_step_pre_hook(
            lambda *_: model.before_optimizer_step()
        )

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        """Say whether the optimiser will step."""
        unwrap(runner.model).ends_step = runner.optim_wrapper.should_sync()

    def after_train(self, runner) -> None:
        """Let the optimiser step without us."""
        unwrap(runner.model).ends_step = True
        self._handle.remove()

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Move the target if the optimiser stepped in this iteration."""
        if runner.optim_wrapper.should_update():
            unwrap(runner.model).after_optimizer_step(getattr(runner.optim_wrapper, 'finite', None))
