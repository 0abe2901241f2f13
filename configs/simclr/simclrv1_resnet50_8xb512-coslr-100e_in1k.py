"""SimCLR with the first version's two-layer head, 100 epochs of ImageNet."""

_base_ = ['simclr_resnet50_8xb512-coslr-100e_in1k.py']

model = dict(heads=dict(image=dict(projector=dict(channels=(2048, 2048, 128)))))
