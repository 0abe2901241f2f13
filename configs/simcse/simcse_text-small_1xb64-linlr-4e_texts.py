"""SimCSE on texts of your own, on a small machine: four blocks of width 256, from random values."""

_base_ = ['simcse_bert-base_1xb64-linlr-1e_wiki.py']

tokens = dict(path='data/tokenizer.json')  # tools/train_tokenizer.py data/texts.txt --size 8192 --out ...
model = dict(
    backbone=dict(
        _delete_=True,
        type='TextTransformer',
        vocab_size=8192,
        context_length=32,
        width=256,
        depth=4,
        heads=4,
        causal=False,
        feature='first',
        dropout=0.1,
    ),
    heads=dict(text=dict(projector=dict(channels=(256, 256)))),
)
train_dataloader = dict(
    num_workers=1, pin_memory=False, dataset=dict(data_root='data/texts.txt', tokenizer=tokens)
)
optim_wrapper = dict(optimizer=dict(lr=5e-4, weight_decay=0.05))
param_scheduler = [
    dict(
        type='ParamSchedule',
        param_name='lr',
        factor=dict(start=1, end=0, shape='linear', warmup=0.5, unit='epoch'),
        convert_to_iter_based=True,
    )
]
train_cfg = dict(max_epochs=4)
default_hooks = dict(logger=dict(interval=20), collapse=dict(interval=20))
