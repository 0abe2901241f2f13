"""Files of strangers are read as data."""

from mmengine.config import Config

from densecl.inputs import parse_config


def test_reads_what_mmengine_writes():
    content = dict(
        model=dict(
            type='X',
            mean=[1.5, -2.0, 3],
            out_indices=(3,),
            off=None,
            on=True,
            heads={'a b': dict(k=1), 'c': [dict(d='e'), (1, 2)]},
        ),
        epochs=200,
    )
    assert parse_config(Config(content).pretty_text) == content


def test_runs_nothing(tmp_path):
    mark = tmp_path / 'ran'
    text = f"open({str(mark)!r}, 'w')\na = dict(b=open({str(mark)!r}, 'w'), c=1)\nd = __import__('os')"
    assert parse_config(text) == {'a': {'b': None, 'c': 1}, 'd': None}
    assert not mark.exists()


def test_types_are_names_of_registries():
    """mmengine would import any other path, and call what lies there."""
    kept = ('TimmViT', 'densecl.TimmViT', 'mmdet.ResNet', 'mmseg.SwinTransformer')
    paths = ('subprocess.Popen', 'mmengine.load', 'densecl.tools.run_tool', 'os.path.join')
    text = f'a = [{", ".join(f"dict(type={x!r}, b=1)" for x in kept + paths)}]\nb = {{"type": "os.system"}}'
    assert parse_config(text) == {
        'a': [*(dict(type=x, b=1) for x in kept), *[dict(type=None, b=1)] * 4],
        'b': {'type': None},
    }


def test_a_page_may_show_paths():
    text = "model = dict(type='mmdet.models.detectors.RetinaNet')"
    assert parse_config(text)['model']['type'] is None
    assert parse_config(text, paths=True)['model']['type'] == 'mmdet.models.detectors.RetinaNet'


def test_what_python_itself_refuses_is_none():
    text = "a = {[1]: 2, 'b': 3}\nc = dict(5, d=1)\ne = {1, [2]}\nf = dict('ab')\ng = [{(1, [2]): 0}]"
    assert parse_config(text) == dict(a=dict(b=3), c=dict(d=1), e=None, f={}, g=[{}])
    assert parse_config('a = ' + '[' * 5000 + ']' * 5000) == parse_config('a = 1\0') == {}


def test_no_config_is_empty():
    assert parse_config(None) == parse_config('') == parse_config('not : a config [') == {}
