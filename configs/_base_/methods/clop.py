"""CLOP: model and views; configs/clop/README.md has the source of each number."""

_base_ = 'supcon.py'

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
            matching='SameRow',
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
