"""Loads the weights of frozen teachers, and records their licences."""

import torch
from mmengine.hooks import Hook
from torch import nn

from densecl.datasets.feature_maps import FeatureMaps
from densecl.engine.wrapped import unwrap
from densecl.registry import HOOKS

from .load import load_backbone
from .start import Start, find_start


def use_start(target: nn.Module, start: Start) -> None:
    """Fill the frozen network of a target with these weights, and set the normalisation of its images.

    Args:
        target: a :class:`densecl.models.targets.FrozenNetwork`.

    Raises:
        RuntimeError: the weights belong to another network.
    """
    load_backbone(target.backbone, start.export())
    for name in ('mean', 'std'):
        getattr(target, name).copy_(torch.tensor(getattr(start, name)).view(3, 1, 1))


@HOOKS.register_module()
class TeacherHook(Hook):
    """Loads the weights that a head's target names in ``start``; trainings add this hook automatically.

    A resumed run keeps its own weights. Name, origin, licence and hash of each head's teacher are in every
    checkpoint and export (``teachers``), as its licence also applies to what was made from it.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self.records: dict[str, dict] = {}

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Restore the records of a resumed run's teachers."""
        self.records = dict(checkpoint.get('meta', {}).get('teachers') or {})

    def before_train(self, runner) -> None:
        """Load the weights, and log where they come from."""
        if runner._resume and runner._has_loaded:
            return
        for name, head in unwrap(runner.model).heads.items():
            what = getattr(head.target, 'start', None)
            if what is None:
                continue
            if head.target.maps is None:
                start = find_start(what)
                use_start(head.target, start)
                self.records[name], lines = start.record(), start.lines()
            else:
                maps, target = FeatureMaps(head.target.maps), head.target
                wanted = dict(start=target.start, level=target.level, stride=target.stride)
                if maps.made != wanted:
                    raise ValueError(
                        f'model.heads.{name}.target.maps: {target.maps} was made with {maps.made}, the '
                        f'target has {wanted}: make it again with tools/make_maps.py, or name another folder'
                    )
                self.records[name] = maps.record
                lines = [f'{head.target.maps}: maps of', *(f'{k} {v}' for k, v in self.records[name].items())]
            said = '\n  '.join(lines)
            runner.logger.info(f'teacher of {name}:\n  {said}')

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Add the records to the checkpoint."""
        checkpoint['meta']['teachers'] = self.records
