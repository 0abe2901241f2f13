"""Periodic checkpoints."""

from mmengine.hooks import CheckpointHook

from densecl.registry import HOOKS

from .runtime_info import flush_logs


@HOOKS.register_module()
class PretrainCheckpointHook(CheckpointHook):
    """mmengine's hook; a checkpoint holds all logged values, those still on the device too."""

    def _save_checkpoint_with_step(self, runner, step, meta) -> None:
        flush_logs(runner)
        super()._save_checkpoint_with_step(runner, step, meta)
