"""A small set of real photographs that ships with the package; ATTRIBUTION.md holds every licence.

    photos/{clothing,grocery}/*.jpg                   unlabelled, for pretraining
    detection/{train,val}/*.jpg                       multi-object photos from COCO
    detection/annotations/instances_{train,val}.json  boxes and masks of the 12 supercategories
    detection/annotations/objects_{train,val}.json    the same objects as one class
    segmentation/{train,val}/*.png                    class maps drawn from the masks: 0 background,
                                                      1..12 supercategories, 255 ignore (crowds)

Pretraining may read ``photos`` and ``detection/train``; ``val`` is for evaluation alone.
"""

from pathlib import Path


def sample_root() -> Path:
    """Folder that holds the bundled sample.

    Raises:
        FileNotFoundError: the package was installed without its data files.
    """
    root = Path(__file__).resolve().parent
    if not (root / 'ATTRIBUTION.md').is_file():
        raise FileNotFoundError(
            f'the bundled sample is missing from {root}: expected ATTRIBUTION.md, photos/, '
            'detection/ and segmentation/; reinstall densecl or clone the repository'
        )
    return root
