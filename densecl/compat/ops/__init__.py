"""Stand-ins for the functions of ``mmcv._ext``, by way of torchvision and plain PyTorch.

Every function keeps the calling convention of the compiled extension: the caller hands in the
output tensors and the function fills them.  `OPERATORS` says which function of the extension is
found where and what does the work; anything not listed has no stand-in.
"""

from typing import NamedTuple


class Operator(NamedTuple):
    """Where the stand-in of one function of ``mmcv._ext`` lives and what it rests on."""

    module: str
    backing: str


_TABLE = (
    ('nms', 'torchvision', ['nms']),
    ('nms', 'PyTorch', ['softnms', 'nms_match', 'bbox_overlaps']),
    ('roi_align', 'torchvision (mean), PyTorch (max)', ['roi_align_forward', 'roi_align_backward']),
    ('roi_pool', 'PyTorch', ['roi_pool_forward', 'roi_pool_backward']),
    ('focal', 'PyTorch', ['sigmoid_focal_loss_forward', 'sigmoid_focal_loss_backward']),
    ('focal', 'PyTorch', ['softmax_focal_loss_forward', 'softmax_focal_loss_backward']),
    ('deform_conv', 'torchvision', ['deform_conv_forward', 'deform_conv_backward_input']),
    ('deform_conv', 'torchvision', ['deform_conv_backward_parameters']),
    ('deform_conv', 'torchvision', ['modulated_deform_conv_forward', 'modulated_deform_conv_backward']),
    ('deform_attention', "mmcv's PyTorch form", ['ms_deform_attn_forward', 'ms_deform_attn_backward']),
    ('deform_roi_pool', 'PyTorch', ['deform_roi_pool_forward', 'deform_roi_pool_backward']),
    ('carafe', 'PyTorch', ['carafe_forward', 'carafe_backward']),
    ('carafe', 'PyTorch', ['carafe_naive_forward', 'carafe_naive_backward']),
    ('psa_mask', 'PyTorch', ['psamask_forward', 'psamask_backward']),
    ('masked_conv', 'PyTorch', ['masked_im2col_forward', 'masked_col2im_forward']),
)
OPERATORS = {name: Operator(module, backing) for module, backing, names in _TABLE for name in names}
