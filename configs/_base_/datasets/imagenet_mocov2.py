"""ImageNet-1k, two views in MoCo v2's augmentation (aug-plus); DenseCL uses the same."""

data_root = 'data/imagenet/train'
view = dict(
    count=2,
    size=224,
    scale=(0.2, 1.0),
    flip=0.5,
    photometric=dict(
        brightness=0.4,
        contrast=0.4,
        saturation=0.4,
        hue=0.1,
        jitter_prob=0.8,
        gray_prob=0.2,
        blur_prob=0.5,
        blur_sigma=(0.1, 2.0),
        solarize_prob=0.0,
    ),
)
train_dataloader = dict(
    batch_size=32,  # a process; 8 processes make the recipes' 256
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    collate_fn=dict(type='densecl.collate_views'),
    sampler=dict(type='PretrainSampler', shuffle=True),
    dataset=dict(
        type='PretrainDataset',
        data_root=data_root,
        source=dict(type='Folder'),
        pipeline=[dict(type='MultiView', views=[view], photometric_on='device')],
    ),
)
