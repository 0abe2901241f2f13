"""VQ-KD on some thousand photos of your own, on a small machine: an EfficientNet-Lite0 is the teacher."""

_base_ = ['../_base_/methods/vqkd.py', '../_base_/small_adamw.py']

side, width, codes, teacher = 128, 192, 512, 112
small = dict(embed_dim=width, num_heads=3)
model = dict(
    backbone=dict(small, depth=6, img_size=side),
    heads=dict(
        features=dict(
            projector=dict(
                quantizer=dict(channels=width, codes=codes),
                decoder=dict(small, img_size=side // 16),
                output=dict(channels=(width, width, teacher)),
            ),
            target=dict(
                backbone=dict(
                    _delete_=True, type='TimmBackbone', model_name='tf_efficientnet_lite0', out_indices=(3,)
                ),
                channels=teacher,
                file='data/tokens/teacher_efficientnet-lite0.pth',
            ),
        )
    ),
)
views = [{**_base_.views[0], 'size': side, 'scale': (0.2, 1.0)}]
train_dataloader = dict(dataset=dict(pipeline=[dict(_base_.multi_view, views=views)]))
optim_wrapper = dict(optimizer=dict(betas=(0.9, 0.99), weight_decay=1e-4))
