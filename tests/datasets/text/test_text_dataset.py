"""Texts as views of token ids."""

import pickle

import pytest
import torch

from densecl.datasets import TextDataset, Tokenizer, collate_views
from densecl.datasets.sampler import SampleKey
from densecl.datasets.text import train_tokenizer
from densecl.models.data_preprocessors import TextPreprocessor

pytest.importorskip('tokenizers')
LINES = ['a dog runs', 'two cats sleep on the mat', 'a boat', 'the red car stops']


@pytest.fixture
def tokenizer(tmp_path):
    train_tokenizer(LINES, 280, tmp_path / 'tokenizer.json')
    return dict(type='densecl.Tokenizer', path=str(tmp_path / 'tokenizer.json'), context_length=16)


@pytest.fixture
def lines(tmp_path):
    (tmp_path / 'a.txt').write_text('\n'.join(LINES))
    return tmp_path / 'a.txt'


@pytest.fixture
def triplets(tmp_path):
    rows = [f'{line}\tyes {line}\tno {line}' for line in LINES]
    (tmp_path / 'a.tsv').write_text('\n'.join(['text\tgood\tbad', *rows]))
    return tmp_path / 'a.tsv'


def encoded(tokenizer: dict, *texts: str) -> list[torch.Tensor]:
    how = {k: v for k, v in tokenizer.items() if k != 'type'}
    return list(Tokenizer(**how).encode(texts))


def same(found, expected) -> bool:
    return all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_a_text_twice(lines, tokenizer):
    dataset = TextDataset(lines, tokenizer)
    assert len(dataset) == 4
    sample = dataset[SampleKey(3, 1)]
    assert same(sample.images, encoded(tokenizer, LINES[1], LINES[1]))
    assert sample.index == 1 and sample.path == f'{lines}, line 2'


def test_a_view_of_each_column(triplets, tokenizer):
    dataset = TextDataset(triplets, tokenizer, columns=('text', 'good', 'bad'))
    expected = encoded(tokenizer, LINES[2], f'yes {LINES[2]}', f'no {LINES[2]}')
    assert same(dataset[2].images, expected)


def test_one_of_several_columns_is_drawn_anew_each_epoch(triplets, tokenizer):
    views = [dict(columns=['text']), dict(columns=['good', 'bad'])]
    dataset = TextDataset(triplets, tokenizer, ('text', 'good', 'bad'), views, seed=1)
    first, good, bad = encoded(tokenizer, LINES[0], f'yes {LINES[0]}', f'no {LINES[0]}')
    seen = set()
    for epoch in range(20):
        images = dataset[SampleKey(epoch, 0)].images
        assert torch.equal(images[0], first) and same(images, dataset[SampleKey(epoch, 0)].images)
        seen.add('good' if torch.equal(images[1], good) else 'bad' if torch.equal(images[1], bad) else '?')
    assert seen == {'good', 'bad'}


def test_a_changed_view(lines, tokenizer):
    views = [dict(), dict(transform=dict(type='densecl.EDA', replace=0, insert=0, swap=0.5, delete=0))]
    dataset = TextDataset(lines, tokenizer, views=views)
    plain, changed = dataset[3].images
    assert same([plain], encoded(tokenizer, LINES[3])) and not torch.equal(plain, changed)
    assert same(dataset[3].images, pickle.loads(pickle.dumps(dataset))[3].images)  # in a worker


def test_fewer_texts_evenly_spread(lines, tokenizer):
    dataset = TextDataset(lines, tokenizer, max_texts=2)
    assert len(dataset) == 2
    assert same(dataset[1].images[:1], encoded(tokenizer, LINES[2]))
    with pytest.raises(ValueError, match='TextDataset: max_texts must be at least 1, got 0'):
        TextDataset(lines, tokenizer, max_texts=0)
    with pytest.raises(IndexError, match='index 2 is not within the 2 texts'):
        dataset[2]


def test_batch_goes_through_collate_and_preprocessor(triplets, tokenizer):
    dataset = TextDataset(triplets, tokenizer, columns=('text', 'good', 'bad'))
    batch = TextPreprocessor()(collate_views([dataset[i] for i in (0, 2)]))
    views = batch['inputs']
    assert [x.shape for x in views.images] == [(2, 16)] * 3 and views.images[0].dtype == torch.int64
    assert views.indices.tolist() == [0, 2]


def test_preprocessor_refuses_pixels(lines, tokenizer):
    batch = collate_views([TextDataset(lines, tokenizer)[0]])
    batch['inputs'].images[0] = torch.zeros(1, 4, 4, 3, dtype=torch.uint8)
    with pytest.raises(TypeError, match="TextPreprocessor takes token ids.*'TextDataset'"):
        TextPreprocessor()(batch)


def test_refuses_in_one_line(lines, triplets, tokenizer, tmp_path):
    (tmp_path / 'empty.csv').write_text('text\na\n \n')
    for said, call in (
        (
            'empty.csv, line 3: the text of column',
            lambda: TextDataset(tmp_path / 'empty.csv', tokenizer, ['text']),
        ),
        (
            r'wants the columns \[.x.\], there are text',
            lambda: TextDataset(lines, tokenizer, views=[dict(columns=['x'])]),
        ),
        (
            "a view has columns and transform, got 'eda'",
            lambda: TextDataset(lines, tokenizer, views=[dict(eda=1)]),
        ),
    ):
        with pytest.raises(ValueError, match=said) as error:
            call()
        assert '\n' not in str(error.value)


def test_what_the_tokenizer_refuses_names_the_line(lines):
    class Refuses:
        def encode(self, texts):
            raise ValueError('unknown')

    with pytest.raises(ValueError, match=r'a.txt, line 3: unknown'):
        TextDataset(lines, Refuses())[2]
