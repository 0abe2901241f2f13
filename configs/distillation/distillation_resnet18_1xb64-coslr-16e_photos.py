"""ResNet-18 from an EfficientNet-Lite0 with ImageNet weights, on some thousand photos of your own."""

_base_ = ['../_base_/methods/distillation.py', '../_base_/small_adamw.py']

crop, teacher = 112, 320
model = dict(
    backbone=_base_.stride16,
    heads=dict(
        cells=dict(
            projector=dict(channels=(512, teacher)),
            # The teacher gets views of twice the side, so its cells of 32 px match the student's of 16 px.
            target=dict(
                backbone=dict(
                    _delete_=True, type='TimmBackbone', model_name='tf_efficientnet_lite0', out_indices=(4,)
                ),
                channels=teacher,
                patch=16,
                stride=32,
                start='imagenet',
            ),
            objective=dict(
                objectives=[
                    dict(type='QueueDistillation', dim=teacher, queue=2048),
                    dict(type='SimilarityRows', temperature=0.07),
                ]
            ),
        )
    ),
)
views = [{**_base_.views[0], 'size': crop, 'scale': (0.3, 1.0)}]
train_dataloader = dict(dataset=dict(pipeline=[dict(_base_.multi_view, views=views)]))
optim_wrapper = dict(clip_grad=dict(max_norm=1.0))
