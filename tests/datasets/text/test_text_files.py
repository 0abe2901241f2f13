"""Files of texts."""

import pytest

from densecl.datasets.text import Texts, read_rows


def write(path, text: str):
    path.write_text(text, encoding='utf-8')
    return path


def test_lines(tmp_path):
    path = write(tmp_path / 'a.txt', 'one\n\n  two, 2 \r\nthree')
    assert list(read_rows(path)) == [(1, ('one',)), (3, ('two, 2',)), (4, ('three',))]


@pytest.mark.parametrize(
    ('name', 'text'),
    [
        ('a.csv', 'x,y,z\n1,"a, b","c\nd"\n2,e,f\n'),
        ('a.jsonl', '{"x": 1, "y": "a, b", "z": "c\\nd"}\n\n{"z": "f", "y": "e"}\n'),
    ],
)
def test_columns(tmp_path, name, text):
    rows = list(read_rows(write(tmp_path / name, text), ['z', 'y']))
    assert rows == [
        (3 if name == 'a.csv' else 1, ('c\nd', 'a, b')),
        (4 if name == 'a.csv' else 3, ('f', 'e')),
    ]


def test_quotes_mean_nothing_between_tabs(tmp_path):
    path = write(tmp_path / 'a.tsv', 'x\ty\n"a\tb\nc\t"d"\n')
    assert [row for _, row in read_rows(path, ['x', 'y'])] == [('"a', 'b'), ('c', '"d"')]


def test_texts_of_several_files(tmp_path):
    first = write(tmp_path / 'a.tsv', 'x\ty\na\tb\nc\td\n')
    second = write(tmp_path / 'b.tsv', 'y\tx\né\tf\n')
    texts = Texts([first, second], ['x', 'y'])
    assert [texts[i] for i in range(len(texts))] == [('a', 'b'), ('c', 'd'), ('f', 'é')]
    assert texts.where(1) == f'{first}, line 3' and texts.where(2) == f'{second}, line 2'


@pytest.mark.parametrize(
    ('name', 'text', 'columns', 'said'),
    [
        ('a.csv', 'x,y\na,\n', ['x', 'y'], "a.csv, line 2: the text of column 'y' is empty"),
        ('a.csv', 'x,y\na\n', ['x', 'y'], "a.csv, line 2: the text of column 'y' is empty"),
        ('a.csv', 'x,y\na,b\n', ['z'], "a.csv, line 2: there is no column 'z', there are x, y"),
        ('a.csv', 'x,y\na,b,c\n', ['x'], "a.csv, line 2: there are more columns .* that hold ',' in quotes"),
        ('a.tsv', 'x\ta\ta\n1\t2\t3\t4\n', ['x'], 'a.tsv, line 2: .* no text may hold a tab'),
        ('a.csv', 'x,y\na,b\n', None, 'a.csv: name the columns that are texts'),
        ('a.txt', 'x\n', ['x'], 'a.txt: columns are for .csv, .tsv and .jsonl'),
        ('a.txt', '\n \n', None, 'there is no text in .*a.txt'),
        ('a.jsonl', '{"x": "a"}\n{"x"\n', ['x'], 'a.jsonl, line 2: not json'),
        ('a.jsonl', '["a"]\n', ['x'], 'a.jsonl, line 1: a line must be an object'),
    ],
)
def test_refuses_in_one_line(tmp_path, name, text, columns, said):
    with pytest.raises(ValueError, match=said) as error:
        Texts(write(tmp_path / name, text), columns)
    assert '\n' not in str(error.value)


def test_no_file_and_no_text(tmp_path):
    with pytest.raises(FileNotFoundError, match='there is no file of texts .*b.txt'):
        Texts(tmp_path / 'b.txt')
    (tmp_path / 'c.txt').write_bytes(b'\xff\xfe\xfa')
    with pytest.raises(ValueError, match='c.txt is not UTF-8'):
        Texts(tmp_path / 'c.txt')
