"""Periodic checkpoints."""

import inspect

from mmengine.dist import is_main_process
from mmengine.fileio import get_file_backend, join_path
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from densecl.registry import HOOKS

from .runtime_info import flush_logs

#: Name, in the state of a run, of the checkpoint with which it was stopped.
STOPPED = 'stopped_ckpt'
#: The same of the best checkpoints, when a better one is written.
FORMER = 'former_best_ckpts'


def name_last(runner, path: str) -> None:
    """Write ``last_checkpoint`` of a run, atomically."""
    backend = get_file_backend(runner.work_dir)
    backend.put_text(path, join_path(runner.work_dir, 'last_checkpoint'))


def _best(info: dict) -> dict[str, str]:
    """The best checkpoints that the state of a run names, one a metric."""
    return {key: path for key, path in info.items() if key.startswith('best_ckpt') and path}


@HOOKS.register_module()
class PretrainCheckpointHook(CheckpointHook):
    """mmengine's hook; at every moment there is a whole checkpoint, and ``last_checkpoint`` names one.

    An old checkpoint is removed after the new one is written (mmengine does it before). The new one lists it
    still, so that a run that is killed in between removes it when it goes on. So does what a signal made a
    run save. The same holds of ``save_best``. A checkpoint holds all logged values, those still on the device
    too, and which images process 0 could not read: every process of a resumed run counts on from there.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        # What nothing takes is a TypeError now, and not when it saves.
        inspect.signature(Runner.save_checkpoint).bind_partial(**self.args)
        if not isinstance(self.max_keep_ckpts, int):
            raise ValueError(
                f'max_keep_ckpts must be a number of checkpoints, -1 for all, got {self.max_keep_ckpts!r}'
            )

    def before_train(self, runner) -> None:
        """As mmengine's; remove the former best of a run that was killed before it did."""
        super().before_train(runner)
        self._remove_former(runner)

    def _save_best_checkpoint(self, runner, metrics) -> None:
        """As mmengine's, which removes the best so far before it writes the new one."""
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
        """Add which images could not be read, where these are replaced."""
        dataset = runner.train_dataloader.dataset
        if getattr(dataset, 'on_error', None) == 'skip':
            checkpoint['unreadable'] = dataset.marks.state()

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Count unreadable images on from where the run was."""
        dataset, state = runner.train_dataloader.dataset, checkpoint.get('unreadable')
        going_on = runner._resume and state is not None and hasattr(dataset, 'marks')
        if going_on and not dataset.marks.load(state.cpu()):
            runner.logger.warning(
                f'the resumed run had {len(state)} images, this one has others: unreadable ones count anew'
            )

    def _save_checkpoint_with_step(self, runner, step, meta) -> None:
        flush_logs(runner)
        names = [self.filename_tmpl.format(step)]
        if self.max_keep_ckpts > 0:
            kept = [*dict.fromkeys([*self.keep_ckpt_ids, step])]
            runner.message_hub.update_info('keep_ckpt_ids', kept)
            names = [self.filename_tmpl.format(i) for i in kept]
            self.keep_ckpt_ids.extend(kept)  # a deque of so many
        self.last_ckpt = join_path(self.out_dir, names[-1])
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            names[-1],
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
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
