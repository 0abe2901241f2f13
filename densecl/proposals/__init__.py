"""Candidate objects of an image: selective search and other providers, filters, and their store.

A provider is registered in :data:`densecl.registry.PROPOSALS` and called ``provider(image, image_id)``, with
an image (H, W, 3) uint8 RGB and what its source calls it. It returns :class:`densecl.structures.Proposals`
in pixels of ``Proposals.size``: of the image it is given, or, if it merely looks up, of the original. It
says the same whenever it is asked, and survives being forked and pickled. One that looks up boxes without
the original's size says so by an attribute ``needs_full_size = True``, and is only given images at full size.
One that asks an image for no more than its ``shape`` says ``reads_pixels = False``: photos then need not be
decoded before the crops are drawn.

A store keeps what a provider named, and is a provider itself. Who chooses among the proposals for the views
of a sample is a selector, in ``densecl.datasets.transforms``.

numba is not needed before selective search or graph segmentation is first called, nor pyarrow before
proposals are stored.
"""

from .cached import Cached
from .coco import CocoBoxes, write_coco
from .errors import DamagedStoreError, MissingProposalsError
from .felzenszwalb import Felzenszwalb, felzenszwalb
from .filtered import SOCO_FALLBACKS, SOCO_RULES, Filtered
from .filters import (
    AspectRatio,
    DropDuplicates,
    MinScore,
    MinSide,
    RelativeSize,
    TopScores,
    filter_boxes,
)
from .selective_search import SelectiveSearch, selective_search
from .soco import SocoJson, write_soco
from .store import ProposalStore
from .synthetic import GridBoxes, RandomBoxes
from .writer import ProposalWriter

__all__ = [
    'SOCO_FALLBACKS',
    'SOCO_RULES',
    'AspectRatio',
    'Cached',
    'CocoBoxes',
    'DamagedStoreError',
    'DropDuplicates',
    'Felzenszwalb',
    'Filtered',
    'GridBoxes',
    'MinScore',
    'MinSide',
    'MissingProposalsError',
    'ProposalStore',
    'ProposalWriter',
    'RandomBoxes',
    'RelativeSize',
    'SelectiveSearch',
    'SocoJson',
    'TopScores',
    'felzenszwalb',
    'filter_boxes',
    'selective_search',
    'write_coco',
    'write_soco',
]
