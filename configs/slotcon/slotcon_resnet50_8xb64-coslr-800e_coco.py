"""SlotCon, 800 epochs of COCO train2017: fewer slots, everything else as on ImageNet."""

_base_ = [
    'slotcon_resnet50_8xb64-coslr-200e_in1k.py',
]

slots = 256
objective = dict(cells=dict(prototypes=slots))
model = dict(heads=dict(slots=dict(projector=dict(slots=slots), objective=objective)))
train_dataloader = dict(dataset=dict(data_root='data/coco/train2017'))
train_cfg = dict(max_epochs=800)
