"""Exports a run's backbone, unless its guard says that the start is better."""

from pathlib import Path

from .run import Run


def export_run(run: Run, path: str | Path | None = None, to: str = 'mmdet', force: bool = False) -> Path:
    """Write the backbone of a run's best weights; return where.

    Args:
        run: the run.
        path: file to write; default: beside the checkpoint.
        to: one of ``densecl.transfer.dialects.TARGETS``.
        force: export even if the guard says that the start is better.

    Raises:
        RuntimeError: the guard says so.
    """
    from densecl.transfer import export_backbone, save_export
    from densecl.transfer.export import SUFFIXES

    weights = run.best
    refuse_worse(weights, force)
    export = export_backbone(weights, to)
    default = f'{weights.stem}_{export["meta"]["branch"]}_{to}{SUFFIXES.get(to, ".pth")}'
    return save_export(export, path or run.folder / default)


def refuse_worse(checkpoint: Path, force: bool) -> None:
    """Raise if the guard of a run found this checkpoint worse than its start."""
    from densecl.evaluation.guard import export_refusal
    from densecl.transfer import read_weights

    refusal = export_refusal(checkpoint, read_weights(checkpoint).meta.get('iter'))
    if refusal and not force:
        raise RuntimeError(refusal)
