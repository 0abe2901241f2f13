"""Which of the images that a figure is measured on were among the photos of a pretraining."""

from collections.abc import Iterable
from pathlib import Path


def leak_check(paths: Iterable[str | Path], labelled: str | Path, test: str | Path | None = None) -> str:
    """One line about the images of a labelled set that a probe scores on.

    Args:
        paths: photos of the pretraining.
        labelled, test: see :func:`densecl.evaluation.labelled.open_labelled`.

    Raises:
        FileNotFoundError, ValueError: the labelled set cannot be opened.
    """
    from densecl.datasets.duplicates import describe_duplicates, find_duplicates, fingerprints
    from densecl.evaluation.labelled import open_labelled

    scored = fingerprints(open_labelled(labelled, test).test.images)
    return describe_duplicates(find_duplicates(fingerprints(paths), scored), len(scored))
