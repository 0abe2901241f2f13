"""CLOP on NT-Xent, 100 epochs of ImageNet with labels; see the README beside this file."""

_base_ = ['../supcon/supcon_resnet50_8xb128-coslr-100e_in1k.py']

model = dict(
    heads=dict(
        image=dict(
            projector=dict(
                channels=(2048, 2048, 2048, 1024),
                norm=True,
                last_norm='scale',
                bias=False,
                init='normal',
            ),
            objective=dict(
                _delete_=True,
                type='Sum',
                objectives=[
                    dict(type='InfoNCE', temperature=0.1, queue=0, batch='views'),
                    dict(type='PrototypeAlignment', classes=1000, dim=1024),
                ],
                weights=[1.0, 1.0],
            ),
            loss_weight=1.0,
        )
    )
)
