"""Captions of every source: what belongs to which image, what is drawn, and what is refused."""

import csv
import json
import re

import numpy as np
import pytest
import torch
from datasets.test_tar_shards import picture, write_tar
from PIL import Image

from densecl.datasets import PretrainDataset, SampleKey
from densecl.datasets.captions import Captions
from densecl.datasets.sources import CaptionTable, Coco, Folder, TarShards
from densecl.structures import Views

TEXTS = {'a.png': ['a red bus'], 'sub/b.png': ['two cats', 'cats on a sofa', 'cats']}
VIEWS = [dict(type='MultiView', views=[dict(size=8)])]


class Letters:
    """A tokenizer of letters, of context length 16: id 26 ends a text, and pads it."""

    def encode(self, texts):
        rows = torch.full((len(texts), 16), 26)
        for row, text in zip(rows, texts, strict=True):
            if 'é' in text:
                raise ValueError(f'unknown character in {text!r}')
            ids = [ord(c) - ord('a') for c in text if c.isalpha()][:15]
            row[: len(ids)] = torch.tensor(ids)
        return rows


def decoded(tokens):
    return ''.join(chr(97 + t) for t in tokens.tolist() if t < 26)


def pictures(root):
    for name in TEXTS:
        (root / name).parent.mkdir(exist_ok=True, parents=True)
        Image.new('RGB', (12, 12), (9, 9, 9)).save(root / name)


def folder(root):
    pictures(root)
    for name, texts in TEXTS.items():
        (root / name).with_suffix('.txt').write_text('\n'.join(texts) + '\n\n')
    return Folder(root, captions='txt')


def coco(root):
    pictures(root)
    images = [dict(id=7 + i, file_name=name) for i, name in enumerate(TEXTS)]
    pairs = [(7 + i, text) for i, texts in enumerate(TEXTS.values()) for text in texts]
    annotations = [dict(image_id=number, caption=text) for number, text in reversed(pairs)][::-1]
    (root / 'captions.json').write_text(json.dumps(dict(images=images, annotations=annotations)))
    return Coco(root, 'captions.json', captions=True)


def table(root):
    pictures(root)
    with open(root / 'table.csv', 'w', newline='') as file:
        csv.writer(file).writerows([('caption', 'image'), *((t, n) for n, x in TEXTS.items() for t in x)])
    return CaptionTable(root, 'table.csv')


def tars(root):
    lines = '\n'.join(TEXTS['sub/b.png']).encode()
    members = {'1.json': json.dumps(dict(caption='a red bus')).encode(), '1.png': picture(3)}
    write_tar(root / 'x.tar', {**members, '2.png': picture(4), '2.txt': lines, '2.json': b'{}'})
    return TarShards(root, captions='caption')


def tars_of_json(root):
    texts = [json.dumps(dict(text=x)).encode() for x in ('a red bus', TEXTS['sub/b.png'])]
    members = {'1.png': picture(3), '1.json': texts[0], '2.png': picture(4), '2.json': texts[1]}
    return TarShards(write_tar(root / 'x.tar', members), captions='text')


SOURCES = [folder, coco, table, tars, tars_of_json]


@pytest.mark.parametrize('make', SOURCES)
def test_a_source_gives_each_image_its_texts(tmp_path, make):
    source = make(tmp_path)
    assert [source.texts(i) for i in range(len(source))] == list(TEXTS.values())


def test_the_index_of_a_tar_keeps_where_texts_are(tmp_path, monkeypatch):
    tars(tmp_path)
    monkeypatch.setattr('densecl.datasets.sources.tar_index.read_index', None)
    assert TarShards(tmp_path, captions='caption').texts(1) == TEXTS['sub/b.png']


@pytest.mark.parametrize('make', [folder, tars])
def test_a_sample_draws_one_caption_from_its_own_generator(tmp_path, make):
    source = make(tmp_path)
    plain = PretrainDataset('', source, VIEWS)
    dataset = PretrainDataset('', source, VIEWS, captions=dict(tokenizer=Letters()))
    drawn = [dataset[SampleKey(epoch, 1)].tokens for epoch in range(20)]
    assert {decoded(x) for x in drawn} == {t.replace(' ', '') for t in TEXTS['sub/b.png']}
    again = [dataset[SampleKey(epoch, 1)].tokens for epoch in reversed(range(20))]
    assert torch.equal(torch.stack(drawn), torch.stack(again[::-1]))
    assert plain[1].tokens is None
    assert torch.equal(plain[1].boxes, dataset[1].boxes)
    views = Views.collate([dataset[0], dataset[1]])
    assert views.tokens.shape == (2, 16)
    assert views.tokens.dtype == torch.int64
    assert decoded(views.tokens[0]) == 'aredbus'
    assert torch.equal(views.to('cpu').tokens, views.tokens)


def test_several_captions_are_drawn_without_repetition_while_they_last():
    captions = Captions(Letters(), count=4)
    tokens = captions(['one', 'two', 'three'], np.random.default_rng(0), 'x.png')
    assert tokens.shape == (4, 16)
    assert {decoded(x) for x in tokens[:3]} == {'one', 'two', 'three'}
    assert torch.equal(tokens[3], tokens[0])


def test_what_a_tokenizer_refuses_names_the_image():
    with pytest.raises(ValueError, match=r"caption of x\.png: unknown character in 'café'"):
        Captions(Letters())(['café'], np.random.default_rng(0), 'x.png')
    with pytest.raises(ValueError, match='count must be 1 or more, got 0'):
        Captions(Letters(), count=0)


def test_sources_without_texts_are_refused_when_the_data_set_is_built(tmp_path):
    pictures(tmp_path)
    with pytest.raises(ValueError, match='Folder gives no texts here: take captions of Folder'):
        PretrainDataset(tmp_path, None, VIEWS, captions=dict(tokenizer=Letters()))


def refused(tmp_path, said, make):
    with pytest.raises(ValueError, match=re.escape(said)):
        make()


@pytest.mark.parametrize('wrong', [None, ['x', 3], dict(en='dog'), 5, ''])
def test_captions_that_are_no_texts_name_their_file(tmp_path, wrong):
    said = 'an empty text' if wrong == '' else f'a text or a list of texts, got {wrong}'
    text = json.dumps(dict(caption=wrong)).encode()
    shards = TarShards(
        write_tar(tmp_path / 'x.tar', {'1.png': picture(3), '1.json': text}), captions='caption'
    )
    place = f'{tmp_path / "x.tar"}/1.png: expected '
    with pytest.raises(ValueError, match=re.escape(place) + '.*' + re.escape(said)):
        shards.texts(0)
    pictures(tmp_path)
    annotations = [dict(image_id=1, caption=wrong)]
    held = dict(images=[dict(id=1, file_name='a.png')], annotations=annotations)
    (tmp_path / 'c.json').write_text(json.dumps(held))
    with pytest.raises(ValueError, match=r'c\.json: a\.png: expected '):
        Coco(tmp_path, 'c.json', captions=True)


def test_captions_in_another_encoding_name_their_file(tmp_path):
    source, latin = folder(tmp_path), 'café'.encode('latin-1')
    (tmp_path / 'a.txt').write_bytes(latin)
    refused(tmp_path, f'{tmp_path / "a.txt"}: captions must be UTF-8', lambda: source.texts(0))
    (tmp_path / 'a.txt').write_bytes('café'.encode('utf-8-sig'))
    assert source.texts(0) == ['café']
    shards = TarShards(
        write_tar(tmp_path / 'x.tar', {'1.png': picture(3), '1.txt': latin}), captions='caption'
    )
    refused(tmp_path, f'{tmp_path / "x.tar"}/1.png: captions must be UTF-8', lambda: shards.texts(0))
    (tmp_path / 't.csv').write_bytes(b'image,caption\na.png,' + latin)
    said = f'CaptionTable: {tmp_path / "t.csv"} must be a table in UTF-8'
    refused(tmp_path, said, lambda: CaptionTable(tmp_path, 't.csv'))


def test_errors_of_folders(tmp_path):
    source = folder(tmp_path)
    text = tmp_path / 'a.txt'
    text.write_text(' \n')
    refused(tmp_path, f'{text}: expected captions, got an empty text', lambda: source.texts(0))
    text.unlink()
    said = '1 of 2 images have no caption, the first is a.png; expected photo.txt beside photo.jpg'
    refused(tmp_path, said, lambda: Folder(tmp_path, captions='txt'))
    text.write_text('x')
    (tmp_path / 'c.txt').write_text('x')
    said = '1 captions have no image, the first is c.txt; add the image or remove the caption'
    refused(tmp_path, said, lambda: Folder(tmp_path, captions='txt'))


def test_errors_of_coco(tmp_path):
    coco(tmp_path)
    file = tmp_path / 'captions.json'
    whole = json.loads(file.read_text())

    def said(text, *annotations):
        file.write_text(json.dumps(dict(images=whole['images'], annotations=annotations)))
        refused(tmp_path, text, lambda: Coco(tmp_path, 'captions.json', captions=True))

    first, second = (dict(image_id=7 + i, caption='x') for i in range(2))
    said(f'{file}: 1 of 2 images have no caption, the first is sub/b.png', first)
    said('annotation 1 has no "caption"', first, dict(image_id=8, bbox=[0, 0, 1, 1]))
    said('is the caption of image 99, which "images" does not list', first, dict(image_id=99, caption='x'))
    said(f'{file}: a.png: expected captions, got an empty text', dict(first, caption=' '), second)


def test_errors_of_tables(tmp_path):
    table(tmp_path)
    file = tmp_path / 'table.csv'

    def said(text, content):
        file.write_text(content)
        refused(tmp_path, text, lambda: CaptionTable(tmp_path, 'table.csv'))

    said("has no column 'caption', its first line names ['image', 'text']", 'image,text\na.png,x\n')
    said('line 2 has more columns than the first line', 'image,caption\na.png,a dog, running\n')
    said('line 2 has a caption without an image', 'image,caption\n,x\n')
    said(f'{file}: a.png: expected captions, got an empty text', 'image,caption\na.png,\n')
    said('lists no image', 'image,caption\n')
    file.write_text('image,caption\nz.png,x\n')
    with pytest.raises(FileNotFoundError, match=r'1 of the 1 images in .*table\.csv do not exist'):
        CaptionTable(tmp_path, 'table.csv')


def test_errors_of_tars(tmp_path):
    def said(text, **members):
        names = {name.replace('_', '.'): data for name, data in members.items()}
        path = write_tar(tmp_path / 'x.tar', names)
        refused(tmp_path, text, lambda: TarShards(path, captions='caption').texts(0))

    said('x.tar/a.txt is a caption without an image', a_txt=b'x', b_png=picture(1), b_txt=b'x')
    said('1 of 2 images have no caption, the first is', a_txt=b'x', a_png=picture(1), b_png=picture(2))
    said('x.tar/a.png: expected captions, got an empty text', a_png=picture(1), a_txt=b' \n ')
    said("must hold a dict with 'caption', got KeyError", a_png=picture(1), a_json=b'{"text": "x"}')
