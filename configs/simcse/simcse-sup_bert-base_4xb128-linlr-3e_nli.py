"""Supervised SimCSE of BERT-base: entailments as positives, contradictions as hard negatives."""

_base_ = ['simcse_bert-base_1xb64-linlr-1e_wiki.py']

model = dict(
    heads=dict(
        text=dict(
            units=dict(type='ImageWithHard', view=1, hard=(2,)),
            matching='SameId',
            objective=dict(batch='units', own_weight=0.0),
        )
    )
)
train_dataloader = dict(
    batch_size=128,
    dataset=dict(data_root='data/nli_for_simcse.csv', columns=('sent0', 'sent1', 'hard_neg')),
)
optim_wrapper = dict(optimizer=dict(lr=5e-5))
train_cfg = dict(max_epochs=3)
auto_scale_lr = dict(base_batch_size=512, enable=False)
