"""SparK on some thousand photos of your own, on a small machine: ResNet-18 at 112 px, cells of 16 px.

C5 is at stride 16, so that there are 7 x 7 cells, as officially. C4, of the same size, is left out.
"""

_base_ = ['../_base_/methods/spark.py', '../_base_/small_adamw.py']

side, patch = 112, 16
sync_bn = None
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmdet.ResNet',
        norm_eval=False,
        frozen_stages=-1,
        zero_init_residual=True,
        out_indices=(0, 1, 3),
        **_base_.stride16,
    ),
    heads=dict(
        pixels=dict(projector=dict(channels=(64, 128, 512), patch=patch, width=128), target=dict(patch=patch))
    ),
)
views = [{**_base_.views[0], 'size': side, 'mask': dict(_base_.views[0]['mask'], patch=patch)}]
train_dataloader = dict(dataset=dict(pipeline=[dict(_base_.multi_view, views=views)]))
