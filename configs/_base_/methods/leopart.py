"""Leopart from DINO: NeCo's crops and backbone, of other sizes; configs/leopart/README.md has the sources."""

_base_ = ['neco.py']

model = dict(
    backbone=dict(arch='vit_small_patch16_224', img_size=224, output_attention=True),
    heads=dict(
        _delete_=True,
        clusters=dict(
            units=dict(type='CellPrototypes', foreground='attention'),
            matching=dict(type='SharedGrid', size=7, samples=2),
            projector=dict(
                type='PrototypeProjector',
                channels=(384, 2048, 2048, 256),
                activation='GELU',
                init='trunc_normal',
                prototypes=300,
            ),
            objective=dict(
                type='SwappedPrediction',
                temperature=0.1,
                epsilon=0.05,
                iterations=3,
                queue=8192,
                dim=256,
                queue_start=0,
                queue_units=10,
                mean='counted',
                assigned='all',
            ),
            pairs='crops',
        ),
    ),
)
views = [dict(_base_.views[0], size=224), dict(_base_.views[1], size=96)]
