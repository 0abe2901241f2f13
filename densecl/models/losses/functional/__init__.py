"""The mathematics of the objectives: plain tensors in, a scalar out.

Each function normalises inside where its paper does, computes in float32 whatever the autocast state
(float64 stays float64), and knows nothing of queues or configs. Over several processes, give it tensors
from :func:`densecl.distributed.gather`. ``docs/objectives.md`` says how each compares with official code.
"""

from .assignment import self_distillation, sinkhorn, swapped_prediction
from .contrastive import (
    batch_pairs,
    contrastive_terms,
    cross_view,
    direct_clr,
    info_nce,
    info_nce_terms,
    moco_v3,
    nt_xent,
    tiled_info_nce,
)
from .cosine import negative_cosine, pixel_consistency
from .dense import multi_positive_info_nce, multi_positive_terms
from .masks import mask_contrast, mask_contrast_terms, mask_repeats
from .metric import triplet_margin
from .pixel_contrast import pixel_contrast
from .precision import full_precision, no_autocast, unit
from .reweighted import (
    debiased_log_mass,
    debiased_nt_xent,
    decoupled,
    hard_nt_xent,
)
from .statistics import barlow_twins, vicreg
from .supervised import sincere, sup_con

__all__ = [
    'barlow_twins',
    'batch_pairs',
    'contrastive_terms',
    'cross_view',
    'debiased_log_mass',
    'debiased_nt_xent',
    'decoupled',
    'direct_clr',
    'full_precision',
    'hard_nt_xent',
    'info_nce',
    'info_nce_terms',
    'mask_contrast',
    'mask_contrast_terms',
    'mask_repeats',
    'moco_v3',
    'multi_positive_info_nce',
    'multi_positive_terms',
    'negative_cosine',
    'no_autocast',
    'nt_xent',
    'pixel_consistency',
    'pixel_contrast',
    'self_distillation',
    'sincere',
    'sinkhorn',
    'sup_con',
    'swapped_prediction',
    'tiled_info_nce',
    'triplet_margin',
    'unit',
    'vicreg',
]
