"""RASA on VOC, 128 images a step, nine rounds of five epochs; the README of configs/rasa has the sources."""

optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=2e-4, weight_decay=0.0))
parts, epochs = 9, 5
param_scheduler = [
    dict(
        type='CosineRestartLR',
        periods=[epochs] * parts,
        restart_weights=[1.0] * parts,
        eta_min=0.0,
        by_epoch=True,
        convert_to_iter_based=True,
    )
]
train_cfg = dict(type='PretrainLoop', max_epochs=parts * epochs)
auto_scale_lr = dict(base_batch_size=128, enable=False)
