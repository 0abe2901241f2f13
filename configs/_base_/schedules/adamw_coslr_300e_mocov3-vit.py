"""MoCo v3 with a ViT, 300 epochs of ImageNet (4,096 images a step); official CONFIG.md."""

optim_wrapper = dict(
    type='OptimWrapper',
    # 1.5e-4 * 4096 / 256; the official code decays biases and norms as well
    optimizer=dict(type='AdamW', lr=2.4e-3, weight_decay=0.1),
)
# per iteration, 40 epochs from 0, then cosine to 0
param_scheduler = [
    dict(
        type='ParamSchedule',
        param_name='lr',
        factor=dict(start=1, end=0, warmup=40, unit='epoch'),
        convert_to_iter_based=True,
    )
]
train_cfg = dict(type='PretrainLoop', max_epochs=300)
auto_scale_lr = dict(base_batch_size=4096, enable=False)
