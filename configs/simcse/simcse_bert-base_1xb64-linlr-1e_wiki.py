"""SimCSE of BERT-base on a million sentences of Wikipedia, one a line."""

_base_ = ['../_base_/methods/simcse.py', '../_base_/datasets/texts.py', '../_base_/pretrain_runtime.py']

train_dataloader = dict(
    dataset=dict(data_root='data/wiki1m_for_simcse.txt', tokenizer=dict(path='data/bert-base-uncased'))
)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=3e-5, betas=(0.9, 0.999), weight_decay=0.0),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(
        type='ParamSchedule',
        param_name='lr',
        factor=dict(start=1, end=0, shape='linear'),
        convert_to_iter_based=True,
    )
]
train_cfg = dict(type='PretrainLoop', max_epochs=1)
default_hooks = dict(checkpoint=dict(interval=1))
auto_scale_lr = dict(base_batch_size=64, enable=False)
