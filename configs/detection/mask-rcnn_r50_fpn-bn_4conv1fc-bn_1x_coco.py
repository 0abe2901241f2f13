"""Mask R-CNN R50-FPN on COCO, 1x, as SoCo fine-tunes it: backbone, pyramid and box head are pretrained.

    bash tools/dist_train.sh configs/detection/mask-rcnn_r50_fpn-bn_4conv1fc-bn_1x_coco.py 8 \
        --pretrained CHECKPOINT

The model is that of mask-rcnn_r50_fpn_1x_coco.py: (Sync)BN in FPN and box head, 4 convolutions and 1 linear
layer. What differs is the weight decay, 2.5e-5 in all of SoCo's detectron2 configs where the protocol of the
other papers has 1e-4: a part of the published gain may be the recipe's. Compare initialisations under one
value: the other file, or this one with --cfg-options optim_wrapper.optimizer.weight_decay=1e-4.
"""

_base_ = './mask-rcnn_r50_fpn_1x_coco.py'

optim_wrapper = dict(optimizer=dict(weight_decay=2.5e-5))
