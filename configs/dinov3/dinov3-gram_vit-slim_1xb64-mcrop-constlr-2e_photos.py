"""The Gram stage on the photos: it goes on from what the run before it left, with its momentum copy.

python tools/train.py THIS --cfg-options load_from=work_dirs/.../epoch_8.pth
"""

_base_ = ['dinov3_vit-slim_1xb64-mcrop-constlr-8e_photos.py']

pairs = [dict(p, weight=p['weight'] * (0.5 if p['query'] > 1 else 1)) for p in _base_.image_pairs]
model = dict(
    keep_target=True,
    renew_start=(50, 100),
    heads=dict(
        image=dict(units=dict(freeze=0), pairs=pairs),
        patches=dict(units=dict(freeze=0)),
        gram=dict(
            target='start',
            units=dict(type='Cells', level=-2, grid=8, resize='bicubic'),
            objective='Gram',
            pairs=[dict(query=v, key=4 + v, weight=0.5) for v in range(2)],
            loss_weight=2.0,
        ),
    ),
)
views = [*_base_.views, *(dict(size=128, crop_of=v, flip=None, interpolation='bicubic') for v in range(2))]
train_dataloader = dict(dataset=dict(pipeline=[dict(_base_.multi_view, views=views)]))
optim_wrapper = dict(optimizer=dict(lr=1e-4))
train_cfg = dict(max_epochs=2)
