"""Exports a backbone, unless the guard of its run says that the start is better."""

from pathlib import Path
from typing import Any, NamedTuple


class Exported(NamedTuple):
    """What was exported.

    Attributes:
        path: the file.
        export: its content, see :func:`densecl.transfer.export_backbone`.
        weights: the checkpoint, see :func:`densecl.transfer.read_weights`.
        refusal: what the guard said against it, or None.
    """

    path: Path
    export: dict[str, Any]
    weights: Any
    refusal: str | None


def export_checkpoint(
    checkpoint: str | Path,
    path: str | Path | None = None,
    to: str = 'mmdet',
    branch: str = 'auto',
    without: str | None = None,
    force: bool = False,
) -> Exported:
    """Write the backbone of a checkpoint.

    Args:
        checkpoint: of densecl, or of another project.
        path: file to write; default: beside the checkpoint, ``<name>_<branch>_<to>`` with its ending.
        to: one of ``densecl.transfer.dialects.TARGETS``.
        branch: ``'online'``, ``'target'``, or ``'auto'``: the one that the method evaluates.
        without: a regular expression of names in mmdet; what begins so is left behind.
        force: export even if the guard says that the start is better.

    Raises:
        RuntimeError: the guard says so.
    """
    from densecl.evaluation.guard import export_refusal
    from densecl.transfer import export_backbone, read_weights, save_export
    from densecl.transfer.export import SUFFIXES

    checkpoint = Path(checkpoint)
    weights = read_weights(checkpoint)
    refusal = export_refusal(checkpoint, weights.meta.get('iter'))
    if refusal and not force:
        raise RuntimeError(refusal)
    export = export_backbone(weights, to, branch, without)
    name = f'{checkpoint.stem}_{export["meta"]["branch"]}_{to}{SUFFIXES.get(to, ".pth")}'
    return Exported(save_export(export, path or checkpoint.with_name(name)), export, weights, refusal)
