"""BEiT v2 on some thousand photos of your own, on a small machine: the codes of the small VQ-KD."""

_base_ = ['../_base_/methods/beitv2.py', '../_base_/small_machine.py']

epochs, side, codes = 16, 128, 512
small = dict(embed_dim=192, depth=6, num_heads=3, img_size=side)
model = dict(
    backbone=dict(small, class_path=(4, 2)),
    heads=dict(
        codes=dict(
            projector=dict(channels=(192, codes)),
            target=dict(
                backbone=small,
                channels=192,
                codes=codes,
                file='data/tokens/vqkd_vit-tiny.pth',
            ),
        )
    ),
)
views = [{**_base_.views[0], 'size': side, 'mask': dict(_base_.views[0]['mask'], count=25)}]
train_dataloader = dict(dataset=dict(pipeline=[dict(_base_.multi_view, views=views)]))
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-3, weight_decay=0.05), clip_grad=dict(max_norm=3.0)
)
param_scheduler = [
    dict(
        type='ParamSchedule',
        param_name='lr',
        factor=dict(start=1, end=0, warmup=1, unit='epoch'),
        convert_to_iter_based=True,
    )
]
train_cfg = dict(max_epochs=epochs)
