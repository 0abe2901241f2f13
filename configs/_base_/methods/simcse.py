"""SimCSE without labels: model; configs/simcse/README.md has the source of each number."""

model = dict(
    type='SharedPretrainer',
    join_views=True,  # a text is in the batch twice; dropout makes the two views different
    data_preprocessor=dict(type='TextPreprocessor'),
    backbone=dict(type='HuggingFaceText', folder='data/bert-base-uncased', context_length=32),
    heads=dict(
        text=dict(
            projector=dict(type='MLP', channels=(768, 768), last_activation='Tanh', init='trunc_normal'),
            objective=dict(type='InfoNCE', temperature=0.05, queue=0, batch='keys'),
            pairs=((0, 1),),
        )
    ),
)
