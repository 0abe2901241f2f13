"""The Gram stage of DINOv3: it goes on from what the run of ViT-L/16 left, with its momentum copy.

    python tools/train.py THIS --cfg-options load_from=work_dirs/.../epoch_200.pth

The anchor is the momentum copy as it is at the beginning and after each of the steps of ``renew_start``.
"""

_base_ = ['dinov3_vit-large_32xb64-mcrop-coslr-200e_in1k.py']

# A local crop's pair counts half, as in the official stage.
pairs = [dict(p, weight=p['weight'] * (0.5 if p['query'] > 1 else 1)) for p in _base_.image_pairs]
scores = dict(teacher_temperature=dict(_delete_=True, start=0.07))
model = dict(
    keep_target=True,
    renew_start=(1250, 2500, 3750),
    momentum=dict(_delete_=True, start=0.999),
    heads=dict(
        image=dict(units=dict(freeze=0), objective=scores, pairs=pairs),
        patches=dict(units=dict(freeze=0), objective=scores),
        gram=dict(
            target='start',
            units=dict(type='Cells', level=-2, grid=14, resize='bicubic'),
            objective='Gram',
            pairs=[dict(query=v, key=10 + v, weight=0.5) for v in range(2)],
            loss_weight=2.0,
        ),
    ),
)
# Both large crops at twice the side, without colours.
views = [*_base_.views, *(dict(size=448, crop_of=v, flip=None, interpolation='bicubic') for v in range(2))]
train_dataloader = dict(dataset=dict(pipeline=[dict(type='MultiView', views=views)]))
optim_wrapper = dict(optimizer=dict(lr=1.7e-4))  # 3e-5 * 4 * sqrt(2048 / 1024)
param_scheduler = [
    dict(_base_.param_scheduler[0], factor=dict(start=1, warmup=1250, unit='step')),
]
train_cfg = dict(max_epochs=40)
