"""The mathematics of the objectives: plain tensors in, a scalar out.

Each function normalises inside where its paper does, computes in float32 whatever the autocast state
(float64 stays float64), and knows nothing of queues or configs. Over several processes, give it tensors
from :func:`densecl.distributed.gather`. ``docs/objectives.md`` says how each compares with official code.
"""

from .assignment import self_distillation, sinkhorn, soft_cross_entropy, swapped_prediction
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
from .metric import negative_cosine, triplet_margin
from .precision import full_precision, no_autocast, unit
from .prototypes import orthonormal_prototypes, prototype_alignment
from .redundancy import (
    barlow_twins,
    covariance_penalty,
    cross_correlation,
    variance_hinge,
    vicreg,
)
from .reweighted import (
    debiased_log_mass,
    debiased_nt_xent,
    decoupled,
    hard_nt_xent,
)
from .supervised import sincere, sup_con

__all__ = [
    'barlow_twins',
    'batch_pairs',
    'contrastive_terms',
    'covariance_penalty',
    'cross_correlation',
    'cross_view',
    'debiased_log_mass',
    'debiased_nt_xent',
    'decoupled',
    'direct_clr',
    'full_precision',
    'hard_nt_xent',
    'info_nce',
    'info_nce_terms',
    'moco_v3',
    'negative_cosine',
    'no_autocast',
    'nt_xent',
    'orthonormal_prototypes',
    'prototype_alignment',
    'self_distillation',
    'sincere',
    'sinkhorn',
    'soft_cross_entropy',
    'sup_con',
    'swapped_prediction',
    'tiled_info_nce',
    'triplet_margin',
    'unit',
    'variance_hinge',
    'vicreg',
]
