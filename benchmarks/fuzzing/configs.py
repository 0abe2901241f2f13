"""Configs of which one option is wrong: in its name, its type, its range, or missing."""

import contextlib
import copy
import json
import logging
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer

from benchmarks.tiny import make_photos, tiny_config
from densecl import building
from densecl.building import ConfigMistake
from densecl.engine import fields
from densecl.engine.fields import FIELDS
from densecl.engine.trial import try_out

from .changes import Change
from .trial import require

#: Convolutional networks, a transformer; queues, prototypes, crops of several sizes, masks, boxes, answers.
RECIPES = ('densecl', 'swav', 'mae', 'pixpro', 'dino', 'scrl', 'rotation')
#: Dicts whose keys are names that a user chooses.
FREE = (('model', 'heads'), ('default_hooks',))
_LEFT = ('work_dir', 'launcher', 'resume', 'load_from')
_TYPES = (None, True, 3, 0.5, 'x', '', [], [1, 'a'], {}, {'type': 'Nope'}, {'a': 1})
_NUMBERS = (-1, 0, 1, 3, 0.5, 1e30, -1e30, float('nan'), float('inf'))


def config_seeds(folder: Path) -> dict[str, bytes]:
    """Configs of tiny recipes on 24 images, which stand in a folder."""
    photos = make_photos(folder / 'photos', 24)
    seeds = {}
    for name in RECIPES:
        cfg = tiny_config(name, photos, folder / 'run', epochs=2)
        seeds[name] = json.dumps(dict(config=cfg.to_dict())).encode()
    return seeds


def config_change(how: str) -> Change:
    """One option with a slip in its ``name`` or in the ``word`` that it holds, ``dropped``, of another
    ``type``, or a number out of its ``range``.
    """

    def change(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
        config = json.loads(data)['config']
        places = [place for place in _places(config) if _fits(place, how)]
        parent, key, path = places[int(rng.integers(len(places)))]
        if how == 'name':
            new = _slip(key, rng)
            items = [(new if name == key else name, value) for name, value in parent.items()]
            parent.clear()
            parent.update(items)
            path = [*path[:-1], new]
        elif how == 'dropped':
            del parent[key]
        elif how == 'word':
            parent[key] = _slip(parent[key], rng)
        else:
            choices = _TYPES if how == 'type' else _NUMBERS
            parent[key] = copy.deepcopy(choices[int(rng.integers(len(choices)))])
        return json.dumps(dict(config=config, how=how, path=path)).encode()

    return change


def _places(node: Any, path: tuple = ()) -> Iterator[tuple[Any, Any, tuple]]:
    """Every option, with the dict or list that holds it and its path."""
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in pairs:
        if not path and (key not in FIELDS or key in _LEFT):
            continue
        yield node, key, (*path, key)
        yield from _places(value, (*path, key))


def _fits(place: tuple[Any, Any, tuple], how: str) -> bool:
    parent, key, path = place
    if how == 'name':  # other names at the top are variables of the config
        return isinstance(parent, dict) and (len(path) > 1 or isinstance(parent[key], dict | list))
    if how == 'word':
        return isinstance(parent[key], str) and len(parent[key]) > 1
    return how != 'range' or isinstance(parent[key], int | float) and not isinstance(parent[key], bool)


def _slip(word: str, rng: np.random.Generator) -> str:
    """A word with a letter lost, doubled, changed or exchanged with the next one."""
    i = int(rng.integers(len(word)))
    letter = 'qxz'[int(rng.integers(3))]
    slips = (
        word[:i] + word[i + 1 :],
        word[:i] + word[i:][:1] * 2 + word[i + 1 :],
        word[:i] + letter + word[i + 1 :],
        word[:i] + word[i + 1 : i + 2] + word[i] + word[i + 2 :],
    )
    slip = slips[int(rng.integers(4))]
    return slip if slip not in ('', word) else f'{word}_'


CONFIG_CHANGES = {f'config_{how}': config_change(how) for how in ('name', 'dropped', 'word', 'type', 'range')}


def read_config(path: Path) -> None:
    """What ``tools/train.py CONFIG --check`` does.

    Raises:
        ConfigMistake: with the line that it says.
    """
    content, lines, said = json.loads(path.read_bytes()), [], []
    with _warnings_in(said), tempfile.TemporaryDirectory() as folder:
        cfg = Config(content['config'])
        cfg.work_dir = folder
        fine = try_out(cfg, lines.append)
    wrong = [line.split(maxsplit=2) for line in lines if line.startswith('WRONG')]
    for _, name, text in wrong:
        require('\n' not in text, f'an answer of several lines: {text!r}')
        # Two parts that do not fit each other are known when they compute.
        place = re.split(r'\W', text)[0]
        known = name == 'step' or place in {*FIELDS, *content['config']}
        require(known, f'no place in the config: {name} {text}')
    if not fine:
        raise ConfigMistake('; '.join(text for _, _, text in wrong))
    if content.get('how') == 'name' and tuple(content['path'][:-1]) not in FREE:
        require(bool(said), f'nobody reads {".".join(map(str, content["path"]))}, and nothing was said')


@contextlib.contextmanager
def _warnings_in(said: list[str]) -> Iterator[None]:
    """Keep what is warned of; afterwards forget the loggers of the runs that were built."""
    before = building.warn
    building.warn = fields.warn = said.append
    try:
        yield
    finally:
        building.warn = fields.warn = before
        for kind in (MMLogger, MessageHub, Visualizer, DefaultScope):
            for instance in kind._instance_dict.values():
                for handler in getattr(instance, 'handlers', ()):
                    if isinstance(handler, logging.FileHandler):
                        handler.close()
            kind._instance_dict.clear()
        DefaultScope.get_instance('densecl', scope_name='densecl')
