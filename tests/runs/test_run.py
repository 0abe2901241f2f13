"""A run whose weights are used refuses what is cut off; a page of it does not."""

import json

import pytest

from densecl.runs import Run
from densecl.runs.folder import RunFolder


def make_run(folder, **files):
    """A config, and json files by their stem."""
    (folder / 'config.py').write_text('')
    for stem, content in files.items():
        (folder / f'{stem}.json').write_text(json.dumps(content))
    return folder


def test_weights_to_use_are_those_of_the_guard_where_it_chose(tmp_path):
    run = Run(make_run(tmp_path))
    assert (run.guard, run.manifest, run.settings, run.start) == ({}, {}, [], None)
    with pytest.raises(FileNotFoundError, match='no checkpoint yet'):
        _ = run.best
    (tmp_path / 'iter_3.pth').touch()
    (tmp_path / 'last_checkpoint').write_text('/moved/since/iter_3.pth')
    (tmp_path / 'best_dense.pth').touch()
    (tmp_path / 'start.pth').touch()
    run = Run(tmp_path)
    assert run.best == run.checkpoint == tmp_path / 'iter_3.pth' and run.start == tmp_path / 'start.pth'
    make_run(tmp_path, guard=dict(chosen='end'), settings=[dict(name='lr', value=0.1, reason='')])
    run = Run(str(tmp_path))
    assert run.best == tmp_path / 'best_dense.pth' and run.settings[0]['value'] == 0.1


def test_where_the_guard_kept_the_start_the_end_is_shown_beside_it(tmp_path):
    for name in ('start.pth', 'iter_30.pth', 'best_dense.pth'):
        (tmp_path / name).touch()
    run = Run(make_run(tmp_path, guard=dict(chosen='iteration 20')))
    assert not run.kept_start
    assert run.compared == {'start': run.start, 'after training (best_dense.pth)': run.best}
    run = Run(make_run(tmp_path, guard=dict(chosen='start')))
    assert run.kept_start and run.best.name == 'best_dense.pth'
    after = 'after training (iter_30.pth, not chosen: the guard kept the start)'
    assert run.compared == {'start': run.start, after: run.checkpoint}
    run.start.unlink()
    assert run.compared == {'after training (best_dense.pth)': run.best}


@pytest.mark.parametrize('text', ['{"chosen": "en', '[1, 2]'])
def test_a_cut_off_file_is_refused_here_and_skipped_on_a_page(tmp_path, text):
    (make_run(tmp_path) / 'guard.json').write_text(text)
    with pytest.raises(ValueError, match='guard.json'):
        _ = Run(tmp_path).guard
    assert RunFolder(tmp_path).guard == {}


def test_without_a_config_there_is_no_run(tmp_path):
    (tmp_path / 'guard.json').write_text('{}')
    assert RunFolder(tmp_path).guard == {}
    with pytest.raises(FileNotFoundError, match='there is no config'):
        Run(tmp_path)
    for name, value in (('1', 4), ('2', 8)):
        (tmp_path / name / 'vis_data').mkdir(parents=True)
        (tmp_path / name / 'vis_data/config.py').write_text(f'train_dataloader = dict(batch_size={value})')
    run = Run(tmp_path)
    assert run.config == tmp_path / '2/vis_data/config.py'
    assert {s['name']: s['value'] for s in run.settings} == {'batch': 8}
