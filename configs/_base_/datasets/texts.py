"""Texts, one per line; a method's config sets the batch size, a recipe sets files and tokenizer."""

train_dataloader = dict(
    batch_size=64,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    collate_fn=dict(type='densecl.collate_views'),
    sampler=dict(type='PretrainSampler', shuffle=True),
    dataset=dict(
        type='TextDataset', data_root='data/texts.txt', tokenizer=dict(type='Tokenizer', context_length=32)
    ),
)
