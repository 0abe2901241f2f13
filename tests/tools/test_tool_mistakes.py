"""What is wrong with the files given to a tool is told in one line, and ends with exit code 2."""

import pytest

from densecl.tools import run_tool

COMMANDS = [
    'browse_answers none.pth',
    'browse_groups none.py none.pth',
    'browse_reconstructions none.pth',
    'browse_views none.py',
    'fold_positions none.pth --out folded.pth',
    'image_statistics none',
    'knn none.pth --train none --test none',
    'make_captions none --coco none.json --out captions.csv',
    'make_color_prior none.py',
    'make_maps none.py',
    'make_proposals none --out proposals',
    'make_tokens none.py --start imagenet',
    'sts none.pth --pairs none.csv',
    'test none.py none.pth',
    'train_tokenizer none.csv --size 300 --out tokenizer.json',
]


@pytest.mark.parametrize('command', COMMANDS)
def test_a_file_that_is_not_there(command, tmp_path, monkeypatch, capsys):
    tool, *arguments = command.split()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        run_tool(tool, arguments)
    said = capsys.readouterr().err.strip().splitlines()
    assert left.value.code == 2
    assert len(said) == 1 and said[0].startswith(f'{tool}.py: ') and 'none' in said[0], said


def test_the_traceback_is_one_variable_away(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        run_tool('knn', ['none.pth', '--train', 'none', '--test', 'none'])
    assert capsys.readouterr().err.endswith('(DENSECL_DEBUG=1 shows where)\n')
    monkeypatch.setenv('DENSECL_DEBUG', '1')
    with pytest.raises(FileNotFoundError, match=r'none\.pth'):
        run_tool('knn', ['none.pth', '--train', 'none', '--test', 'none'])
