"""CLIP: the head, the text tower and the view; configs/clip/README.md has the source of each number."""

model = dict(
    type='SharedPretrainer',
    data_preprocessor=dict(
        type='PretrainDataPreprocessor',
        mean=[122.7709383, 116.7460125, 104.09373615],  # RGB, 0..255
        std=[68.5005327, 66.6321579, 70.32316305],
    ),
    heads=dict(
        text=dict(
            projector=dict(type='MLP', channels=(768, 512), bias=False),
            target=dict(type='Text', tower=dict(type='TextTransformer', projection=512)),
            objective=dict(
                type='InfoNCE',
                queue=0,
                batch='keys',
                temperature=dict(type='LearnedTemperature'),
            ),
            pairs=((0, 0),),
            both_ways=True,
        )
    ),
)
view = dict(count=1, size=224, scale=(0.9, 1.0), flip=0.0, interpolation='bicubic')
views = [view]
# Captions are in photo.txt beside photo.jpg; docs/text.md has the other sources.
source = dict(type='Folder', captions='txt')
tokenizer = dict(type='Tokenizer', path='data/bpe_simple_vocab_16e6.txt.gz', context_length=77)
