"""SimCSE of RoBERTa-base: 512 texts a step, a rate of 1e-5."""

_base_ = ['simcse_bert-base_1xb64-linlr-1e_wiki.py']

model = dict(backbone=dict(folder='data/roberta-base'))
train_dataloader = dict(dataset=dict(tokenizer=dict(path='data/roberta-base')))
optim_wrapper = dict(optimizer=dict(lr=1e-5))
auto_scale_lr = dict(base_batch_size=512, enable=False)
