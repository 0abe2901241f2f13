"""ImageNet-1k, one folder a class: the loader that the view presets beside this file share."""

data_root = 'data/imagenet/train'
train_dataloader = dict(
    batch_size=32,  # a process; a method's config sets its own
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    collate_fn=dict(type='densecl.collate_views'),
    sampler=dict(type='PretrainSampler', shuffle=True),
    # Any folder will do; a preset that needs labels asks for source=dict(type='ImageNet').
    dataset=dict(type='PretrainDataset', data_root=data_root, source=dict(type='Folder')),
)
