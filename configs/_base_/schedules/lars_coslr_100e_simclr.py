"""SimCLR on ImageNet (4,096 images a step): LARS, warm-up, and a cosine per step."""

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(
        type='LARS',
        variant='classic',  # lars_optimizer.py: classic_momentum=True; biases and norms excluded
        lr=4.8,  # 0.3 * 4096 / 256 (README); the same as 0.075 * sqrt(4096)
        momentum=0.9,
        weight_decay=1e-4,  # code and README; the paper (v1) has 1e-6
    ),
)
# 10 epochs from 0 (run.py: warmup_epochs), then cosine to 0
param_scheduler = [
    dict(
        type='ParamSchedule',
        param_name='lr',
        factor=dict(start=1, end=0, warmup=10, unit='epoch'),
        convert_to_iter_based=True,
    )
]
train_cfg = dict(type='PretrainLoop', max_epochs=100)  # README; the paper trains 100 to 1000
# rule='sqrt' is 0.075 * sqrt(B), better at small batches and few epochs (paper, appendix B.1)
auto_scale_lr = dict(base_batch_size=4096, rule='linear', enable=False)
