"""SimCLR on some thousand photos of your own, on a small machine."""

_base_ = ['../_base_/methods/simclr.py', '../_base_/small_machine.py']

model = dict(
    data_preprocessor=dict(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375)),
    backbone=_base_.stride16,
    heads=dict(
        image=dict(
            projector=dict(channels=(512, 512, 128)),
            objective=dict(temperature=0.2),  # 126 negatives need a softer choice than 8,190
            loss_weight=1.0,
        )
    ),
)
# Strength 0.5, as the paper has it on CIFAR, and larger crops: a small network learns nothing in a short run
# from views of which it can hardly tell that they belong together.
jitter = dict(_base_.view.photometric, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
views = [dict(_base_.view, size=_base_.small_side, scale=(0.2, 1.0), photometric=jitter)]
train_dataloader = dict(dataset=dict(pipeline=[dict(_base_.multi_view, views=views)]))
