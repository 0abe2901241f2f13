"""mmseg's FCN R50-D8 on Cityscapes, 40k iterations of 8 crops, with supervised pixel contrast.

    bash tools/dist_train.sh configs/segmentation/fcn_r50-d8_pixel-contrast_cityscapes.py 4

The stock config and its stock auxiliary head are kept as they are. Settings of the contrast: the official
code's for Cityscapes without memory, which also takes 40k iterations of batch 8.
"""

_base_ = 'mmseg::fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024.py'

model = dict(
    auxiliary_head=[
        {**_base_.model.auxiliary_head},
        dict(
            type='densecl.PixelContrastHead',
            in_channels=2048,
            in_index=3,
            channels=256,
            num_classes=19,
            max_views=100,
            max_anchors=1024,
            temperature=0.1,
            base_temperature=0.07,
            loss_weight=0.1,
            warmup_iters=5000,
        ),
    ]
)
sync_bn = 'torch'  # of the projector; all else has SyncBN already
