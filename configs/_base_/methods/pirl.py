"""PIRL: model and views; configs/pirl/README.md has the source of each number."""

_base_ = ['../models/resnet50.py', '../views/pirl.py']

model = dict(
    type='SharedPretrainer',
    join_views=True,  # all patches in one pass
    heads=dict(
        image=dict(
            units=dict(type='Patches', images=1, patches=9),
            projector=dict(
                type='ImagePatchProjectors',
                image=dict(type='MLP', channels=(2048, 128)),
                patches=dict(
                    type='PatchProjector',
                    patches=9,
                    each=dict(type='MLP', channels=(2048, 128)),
                    together=dict(type='MLP', channels=(1152, 128)),
                ),
            ),
            # Both are compared with the image's vector in the bank, which is updated only from the image.
            pairs=[
                dict(query=('local', 0), key=('global', 0), weight=0.5, name='patches'),
                dict(query=('global', 0), key=('global', 0), weight=0.5, name='image'),
            ],
            # One vector per image; DataSizeHook sets the number of images.
            objective=dict(
                type='NCE',
                dim=128,
                negatives=32000,
                temperature=0.07,
                momentum=0.5,
                eps=1.1920929e-07,
                init='unit',
            ),
        )
    ),
)
