"""ImageNet-1k, one folder per class; a method's config adds the pipeline with its views."""

data_root = 'data/imagenet/train'
train_dataloader = dict(
    batch_size=32,  # per process; a method's config sets its own
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    collate_fn=dict(type='densecl.collate_views'),
    sampler=dict(type='PretrainSampler', shuffle=True),
    # Works with any folder of images; a method that needs labels sets source=dict(type='ImageNet').
    dataset=dict(type='PretrainDataset', data_root=data_root, source=dict(type='Folder')),
)
