"""A small set of real photographs that ships with the package; ATTRIBUTION.md holds every licence.

    photos/{clothing,grocery}/*.jpg                   unlabelled, for pretraining
    detection/{train,val}/*.jpg                       multi-object photos from COCO
    detection/annotations/instances_{train,val}.json  boxes and masks of the 12 supercategories
    segmentation/{train,val}/*.png                    class maps drawn from the masks: 0 background,
                                                      1..12 supercategories, 255 ignore (crowds)
    things/labels/{train,val}/*.png                   the same maps with one class: 0 background, 1 thing
    bccd/{train,val}/*.jpg                            blood cells under a microscope
    bccd/instances_{train,val}.json                   their boxes: platelets, red and white blood cells

Pretraining may read ``photos``, ``detection/train`` and ``bccd/train``; ``val`` is for evaluation alone.
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
            'detection/, segmentation/, things/ and bccd/; reinstall densecl or clone the repository'
        )
    return root
