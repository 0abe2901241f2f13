"""Periodic checkpoints."""

import inspect

from mmengine.dist import is_main_process
from mmengine.fileio import get_file_backend, join_path
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from densecl.registry import HOOKS

from .runtime_info import flush_logs

#: Key, in a run's state, of the checkpoint that was saved when a signal stopped the run.
STOPPED = 'stopped_ckpt'
#: Key, in a run's state, of the former best checkpoints while a better one is written.
FORMER = 'former_best_ckpts'


def ends_step(optim_wrapper) -> bool:
    """Whether the iteration that was just done ends an optimiser step, which gradient accumulation makes of
    several."""
    return getattr(optim_wrapper, 'should_update', lambda: True)()


def name_last(runner, path: str) -> None:
    """Write the file ``last_checkpoint`` of a run, atomically."""
    backend = get_file_backend(runner.work_dir)
    backend.put_text(path, join_path(runner.work_dir, 'last_checkpoint'))


def _best(info: dict) -> dict[str, str]:
    """Metric -> best checkpoint, as the state of a run names them."""
    return {key: path for key, path in info.items() if key.startswith('best_ckpt') and path}


@HOOKS.register_module()
class PretrainCheckpointHook(CheckpointHook):
    """mmengine's hook, but at every moment a whole checkpoint exists, and ``last_checkpoint`` names one.

    An old checkpoint is removed after the new one is written (mmengine removes it before). The new one still
    lists the old one: if a run is killed in between, it removes the old one after a resume. The same holds
    for checkpoints that are saved on a signal, and for ``save_best``. With gradient accumulation, a
    checkpoint that is due in the middle of an optimiser step is saved when the step ends: a resumed run would
    lack the gradients of its first part. A checkpoint has all logged values, also those still on the device.
    It also has the images that process 0 could not read; every process of a resumed run continues its count
    from there.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self._postponed: int | None = None  # the epoch or iteration whose checkpoint waits for a step's end
        # An unknown argument is a TypeError here, and not later, when the hook saves.
        inspect.signature(Runner.save_checkpoint).bind_partial(**self.args)
        if not isinstance(self.max_keep_ckpts, int):
            raise ValueError(
                f'max_keep_ckpts must be a number of checkpoints, -1 for all, got {self.max_keep_ckpts!r}'
            )

    def before_train(self, runner) -> None:
        """As mmengine's; also remove the former best if the run was killed before it could do so."""
        super().before_train(runner)
        self._remove_former(runner)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """As mmengine's; also save a checkpoint that was due earlier in this step."""
        if self._postponed is None or not ends_step(runner.optim_wrapper):
            super().after_train_iter(runner, batch_idx, data_batch, outputs)
            return
        step = self._postponed if self.by_epoch else runner.iter + 1
        self._postponed = None
        meta = dict(epoch=runner.epoch, iter=runner.iter + 1)
        self._save_checkpoint_with_step(runner, step, meta, by_epoch=False)

    def _save_checkpoint(self, runner) -> None:
        if ends_step(runner.optim_wrapper):
            super()._save_checkpoint(runner)
        elif self._postponed is None:
            self._postponed = runner.epoch + 1 if self.by_epoch else runner.iter + 1
            runner.logger.info('a step of several iterations is not complete: saved when it is')

    def _save_best_checkpoint(self, runner, metrics) -> None:
        """As mmengine's, but the former best is removed after the new one is written."""
        if not self.save_best:
            return
        info = runner.message_hub.runtime_info
        runner.message_hub.update_info(FORMER, [*_best(info).values()])
        self.best_ckpt_path, self.best_ckpt_path_dict = None, dict.fromkeys(self.key_indicators)
        super()._save_best_checkpoint(runner, metrics)
        self.best_ckpt_path = info.get('best_ckpt')
        self.best_ckpt_path_dict = {key: info.get(f'best_ckpt_{key}') for key in self.key_indicators}
        self._remove_former(runner)

    def _remove_former(self, runner) -> None:
        info = runner.message_hub.runtime_info
        former = {*info.get(FORMER, ())} - {*_best(info).values()}
        if former:
            self._remove(sorted(former))

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Add which images could not be read, if such images are replaced."""
        dataset = runner.train_dataloader.dataset
        if getattr(dataset, 'on_error', None) == 'skip':
            checkpoint['unreadable'] = dataset.marks.state()

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Continue the count of unreadable images."""
        dataset, state = runner.train_dataloader.dataset, checkpoint.get('unreadable')
        going_on = runner._resume and state is not None and hasattr(dataset, 'marks')
        if going_on and not dataset.marks.load(state.cpu()):
            runner.logger.warning(
                f'the resumed run had {len(state)} images, this one has others: unreadable ones count anew'
            )

    def _save_checkpoint_with_step(self, runner, step, meta, by_epoch: bool | None = None) -> None:
        flush_logs(runner)
        names = [self.filename_tmpl.format(step)]
        if self.max_keep_ckpts > 0:
            kept = [*dict.fromkeys([*self.keep_ckpt_ids, step])]
            runner.message_hub.update_info('keep_ckpt_ids', kept)
            names = [self.filename_tmpl.format(i) for i in kept]
            self.keep_ckpt_ids.extend(kept)  # a deque of limited length
        self.last_ckpt = join_path(self.out_dir, names[-1])
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            names[-1],
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch if by_epoch is None else by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if is_main_process():
            name_last(runner, self.last_ckpt)
        if self.max_keep_ckpts > 0:
            self._remove([join_path(self.out_dir, name) for name in names[: -self.max_keep_ckpts]])
        stopped = runner.message_hub.runtime_info.pop(STOPPED, None)
        if stopped and stopped.rpartition('/')[2] not in names:
            self._remove([stopped])

    def _remove(self, paths: list[str]) -> None:
        for path in paths if is_main_process() else ():
            if self.file_backend.isfile(path):
                self.file_backend.remove(path)
