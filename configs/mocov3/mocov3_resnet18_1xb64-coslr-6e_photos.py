"""MoCo v3 on some thousand photos of your own, on a small machine."""

_base_ = ['../_base_/methods/mocov3.py', '../_base_/small_machine.py']

model = dict(
    backbone=_base_.stride16,
    heads=dict(
        image=dict(
            projector=dict(channels=(512, 512, 128)),
            predictor=dict(channels=(128, 512, 128)),
            objective=dict(temperature=0.2),  # 63 negatives need a sharper softmax than 4,095
            loss_weight=0.8,  # 4 t
        )
    ),
)
views = [{**v, 'size': _base_.small_side} for v in _base_.views]
train_dataloader = dict(dataset=dict(pipeline=[dict(_base_.multi_view, views=views)]))
