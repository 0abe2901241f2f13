"""MoCo v3 with a ResNet-50, 100 epochs of ImageNet (4,096 images a step); official CONFIG.md."""

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(
        type='LARS',
        variant='popular',  # moco/optimizer.py; parameters of one dimension excluded
        lr=9.6,  # 0.6 * 4096 / 256; 4.8 (0.3) for 300 and 1000 epochs
        momentum=0.9,
        weight_decay=1e-6,  # 1.5e-6 for 1000 epochs
    ),
)
# main_moco.py adjust_learning_rate: per iteration, 10 epochs from 0, then cosine to 0
param_scheduler = [
    dict(
        type='ParamSchedule',
        param_name='lr',
        factor=dict(start=1, end=0, warmup=10, unit='epoch'),
        convert_to_iter_based=True,
    )
]
train_cfg = dict(type='PretrainLoop', max_epochs=100)
auto_scale_lr = dict(base_batch_size=4096, enable=False)  # main_moco.py: lr * B / 256
