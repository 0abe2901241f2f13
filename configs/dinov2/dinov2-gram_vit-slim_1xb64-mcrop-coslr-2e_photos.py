"""The end of a DINOv2 run with a Gram anchor at twice the side: it goes on from what that run left.

    python tools/train.py THIS --cfg-options load_from=work_dirs/.../epoch_8.pth

The anchor, as the momentum copy, is the loaded backbone at the beginning; after steps 100 and 200 it is the
momentum copy as it is then. It sees the first crop at twice the side, without colours, and holds how alike
the patches are (DINOv3, Simeoni et al., 2025, section 4).
"""

_base_ = ['dinov2_vit-slim_1xb64-mcrop-coslr-8e_photos.py']

model = dict(
    renew_start=(100, 200),
    heads=dict(
        tokens=dict(units=dict(freeze=0)),  # the prototypes are trained already
        gram=dict(
            target='start',
            units=dict(type='Cells', level=-2, grid=8, resize='bicubic'),
            objective='Gram',
            pairs=[dict(query=0, key=4, weight=1.0)],
            loss_weight=2.0,
        ),
    ),
)
views = [*_base_.views, dict(size=128, crop_of=0, flip=None)]
train_dataloader = dict(dataset=dict(pipeline=[dict(_base_.multi_view, views=views)]))
optim_wrapper = dict(optimizer=dict(lr=1e-4))
train_cfg = dict(max_epochs=2)
