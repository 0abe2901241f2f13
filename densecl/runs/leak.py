"""Checks which evaluation images were among the photos of a pretraining."""

from collections.abc import Callable, Iterable
from pathlib import Path


def leak_check(
    paths: Iterable[str | Path],
    labelled: str | Path,
    test: str | Path | None = None,
    decoder: Callable | None = None,
) -> str:
    """One line about the images of a labelled set that a probe scores on.

    Args:
        paths: photos of the pretraining.
        labelled, test: see :func:`densecl.evaluation.labelled.open_labelled`.
        decoder: decoder of all images; None for 8-bit photos.

    Raises:
        FileNotFoundError, ValueError: the labelled set cannot be opened.
        UnreadableImageError: a scored image is damaged, or of another sensor.
    """
    from densecl.datasets.duplicates import describe_duplicates, find_duplicates, fingerprints
    from densecl.evaluation.labelled import open_labelled

    scored, unreadable = fingerprints(open_labelled(labelled, test, decoder).test.images, decoder), []
    found = find_duplicates(fingerprints(paths, decoder, unreadable), scored)
    left_out = f' (unreadable and left out: {len(unreadable)} pretraining photos)' if unreadable else ''
    return describe_duplicates(found, len(scored)) + left_out
