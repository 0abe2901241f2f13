"""DenseCL on some thousand photos of your own, on a small machine."""

_base_ = ['../_base_/methods/densecl.py', '../_base_/small_machine.py']

projector = dict(channels=(512, 512, 128), norm=True, last_norm=True)
model = dict(
    # A short run needs a target that follows faster, a queue that is a part of the data, and norms in the
    # projectors: without them it takes long to leave the narrow cone in which all embeddings start.
    momentum=0.99,
    bn_groups=4,  # with shuffle_bn: the backbone's statistics are those of four devices, 16 images each
    backbone=_base_.stride16,
    heads=dict(
        image=dict(projector=projector, objective=dict(queue=1024)),
        dense=dict(projector=projector, objective=dict(queue=1024)),
    ),
)
views = [{**v, 'size': _base_.small_side} for v in _base_.views]
train_dataloader = dict(dataset=dict(pipeline=[dict(_base_.multi_view, views=views)]))
