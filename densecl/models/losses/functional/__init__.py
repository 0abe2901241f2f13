"""The mathematics of the objectives: plain tensors in, a scalar out.

Each function normalises inside where its paper does, computes in float32 whatever the autocast state
(float64 stays float64), and knows nothing of queues or configs. Over several processes, give it tensors
from :func:`densecl.distributed.gather`. ``docs/objectives.md`` says how each compares with official code.
"""

from .assignment import (
    self_distillation,
    sinkhorn,
    soft_cross_entropy,
    swapped_crops,
    swapped_prediction,
)
from .contrastive import (
    debiased_nt_xent,
    decoupled,
    direct_clr,
    hard_nt_xent,
    info_nce,
    moco_v3,
    multi_positive_info_nce,
    nt_xent,
    sincere,
    sup_con,
    tiled_info_nce,
    triplet_margin,
)
from .dense import pixel_consistency
from .local import position_covariance, position_vicreg, region_distances
from .metric import negative_cosine
from .pixel_contrast import pixel_contrast
from .precision import full_precision, no_autocast, unit
from .prototypes import orthonormal_prototypes, prototype_alignment
from .redundancy import (
    barlow_twins,
    covariance_penalty,
    cross_correlation,
    variance_hinge,
    vicreg,
)
from .slots import (
    active_slots,
    grouping_consistency,
    grouping_targets,
    slot_attention,
    slot_contrast,
)

__all__ = [
    'active_slots',
    'barlow_twins',
    'covariance_penalty',
    'cross_correlation',
    'debiased_nt_xent',
    'decoupled',
    'direct_clr',
    'full_precision',
    'grouping_consistency',
    'grouping_targets',
    'hard_nt_xent',
    'info_nce',
    'moco_v3',
    'multi_positive_info_nce',
    'negative_cosine',
    'no_autocast',
    'nt_xent',
    'orthonormal_prototypes',
    'pixel_consistency',
    'pixel_contrast',
    'position_covariance',
    'position_vicreg',
    'prototype_alignment',
    'region_distances',
    'self_distillation',
    'sincere',
    'sinkhorn',
    'slot_attention',
    'slot_contrast',
    'soft_cross_entropy',
    'sup_con',
    'swapped_crops',
    'swapped_prediction',
    'tiled_info_nce',
    'triplet_margin',
    'unit',
    'variance_hinge',
    'vicreg',
]
