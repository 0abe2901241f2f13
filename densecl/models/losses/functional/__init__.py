"""The mathematics of the objectives: plain tensors in, a scalar out.

Each is a thin call of what trains, so that a comparison with official code (``docs/objectives.md``) tests the
training path. It normalises inside where its paper does, computes in float32 whatever the autocast state
(float64 stays float64). Over several processes, give it tensors from :func:`densecl.distributed.gather`.
"""

from .assignment import self_distillation, sinkhorn, swapped_prediction
from .contrastive import (
    debiased_nt_xent,
    decoupled,
    direct_clr,
    hard_nt_xent,
    info_nce,
    moco_v3,
    multi_positive_info_nce,
    negative_cosine,
    nt_xent,
    pixel_consistency,
    pixel_contrast,
    sincere,
    sup_con,
    tiled_info_nce,
    triplet_margin,
)
from .statistics import barlow_twins, vicreg

__all__ = [
    'barlow_twins',
    'debiased_nt_xent',
    'decoupled',
    'direct_clr',
    'hard_nt_xent',
    'info_nce',
    'moco_v3',
    'multi_positive_info_nce',
    'negative_cosine',
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
    'vicreg',
]
