"""Periodic checkpoints."""

from mmengine.hooks import CheckpointHook

from densecl.registry import HOOKS

from .momentum import unwrap
from .runtime_info import flush_logs


@HOOKS.register_module()
class PretrainCheckpointHook(CheckpointHook):
    """mmengine's hook; a checkpoint holds all logged values, those still on the device too.

    It names the teachers of heads, whose licences bind what was made from them.
    """

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Name, origin, licence and hash of each teacher."""
        heads = getattr(unwrap(runner.model), 'heads', {})
        records = {
            name: getattr(getattr(head, 'target', None), 'record', None) for name, head in heads.items()
        }
        checkpoint['meta']['teachers'] = {name: record for name, record in records.items() if record}

    def _save_checkpoint_with_step(self, runner, step, meta) -> None:
        flush_logs(runner)
        super()._save_checkpoint_with_step(runner, step, meta)
