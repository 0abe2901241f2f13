"""``--pretrained FILE`` of the training command, as a hook."""

from pathlib import Path

from mmengine.hooks import Hook

from densecl.engine.wrapped import unwrap
from densecl.registry import HOOKS

from .load import load_backbone
from .read import Weights, read_weights
from .record import start_record
from .report import KeyReport
from .start import find_start


@HOOKS.register_module()
class PretrainedHook(Hook):
    """Starts a training from a pretrained backbone, and refuses a file that does not fit.

    The weights are loaded at the start of training: after ``load_from``, and after the model's own
    initialisation, which would overwrite them. A resumed run keeps its weights.

    Args:
        checkpoint: a file, see :func:`densecl.transfer.read_weights`; or a name that
            :func:`densecl.transfer.start.find_start` knows, such as ``'imagenet'``.
        min_match: smallest share of the backbone's tensors that must match.
        branch: ``auto``, ``online`` or ``target``.
        strict_meta: refuse, and do not only warn, if the image normalisation differs.
        part: name of a module of the model that is filled instead of the backbone: for example a text tower,
            ``'heads.text.target.tower'``, from the backbone of a text pretraining.
    """

    priority = 'VERY_HIGH'

    def __init__(
        self,
        checkpoint: str,
        min_match: float = 0.95,
        branch: str = 'auto',
        strict_meta: bool = False,
        part: str | None = None,
    ) -> None:
        self.part, self._record = part, 'start' if part is None else f'start of {part}'
        self.checkpoint = checkpoint
        self.min_match = min_match
        self.branch = branch
        self.strict_meta = strict_meta
        self.start: dict | None = None
        #: The loaded weights; None before they are loaded.
        self.report: KeyReport | None = None

    def before_run(self, runner) -> None:
        """Switch off the backbone's own ``init_cfg`` file; its download would be useless."""
        backbone = getattr(unwrap(runner.model), 'backbone', None) if self.part is None else None
        own = getattr(backbone, 'init_cfg', None)
        if isinstance(own, dict) and own.get('type') == 'Pretrained':
            runner.logger.info(f'pretrained: {self.checkpoint} replaces the init_cfg {own}')
            backbone.init_cfg = None

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Restore the record of the weights that a resumed run started from."""
        self.start = checkpoint.get('meta', {}).get(self._record)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Add origin and licence to the checkpoint."""
        checkpoint['meta'][self._record] = self.start

    def before_train(self, runner) -> None:
        """Load, and log the key report."""
        if runner._resume and runner._has_loaded:
            runner.logger.info(f'pretrained: resumed, so {self.checkpoint} is not loaded')
            return
        model = unwrap(runner.model)
        if self.part is not None:
            model = _part(model, self.part)
        weights, report = self._load(model)
        self.report = report
        self.start = start_record(weights)
        runner.logger.info(f'pretrained {self.part or "backbone"}\n{report}')
        for text in report.warnings + _frozen(model):
            runner.logger.warning(f'pretrained: {text}')

    def _load(self, model) -> tuple[Weights, KeyReport]:
        """Load the file as it is; if it does not fit, with its network's names in densecl."""
        options = (self.branch, self.min_match, self.strict_meta)
        refused = None
        if Path(self.checkpoint).is_file():
            weights = read_weights(self.checkpoint)
            try:
                return weights, load_backbone(model, weights, *options)
            except RuntimeError as error:
                refused = error
        try:
            weights = read_weights(find_start(self.checkpoint).export())
            return weights, load_backbone(model, weights, *options)
        except (RuntimeError, ValueError):
            if refused is None:
                raise
            raise refused from None


def _part(model, name: str):
    try:
        return model.get_submodule(name)
    except AttributeError as error:
        raise ValueError(f'PretrainedHook: the model has no part {name!r}: {error}') from error


def _frozen(model) -> list[str]:
    """Warnings: self-supervised backbones fine-tune poorly with frozen stages or frozen batch statistics."""
    backbone = getattr(model, 'backbone', model)
    lines = []
    if getattr(backbone, 'frozen_stages', -1) >= 0:
        lines.append(
            f'backbone.frozen_stages={backbone.frozen_stages}; self-supervised backbones do better '
            'with -1 (train everything)'
        )
    if getattr(backbone, 'norm_eval', False):
        lines.append(
            'backbone.norm_eval=True freezes the batch statistics; self-supervised backbones do '
            "better with norm_eval=False (and norm_cfg=dict(type='SyncBN') over several processes)"
        )
    return lines
