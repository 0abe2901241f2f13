"""The manifest of a run: its files, versions, settings and starting weights."""

import hashlib
import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import densecl
from densecl.compat.versions import TESTED, installed_version
from densecl.files import sha256_of


def hash_files(paths: Iterable[str], contents: bool = False) -> str:
    """sha256 of a list of files, with one line per file, sorted by name.

    A line has the path below the files' common folder, a tab and the size in bytes. So data that were moved
    have the same hash.

    Args:
        paths: paths of the files.
        contents: add the sha256 of each file to its line; every byte is then read.
    """
    paths = [os.path.abspath(path) for path in paths]
    root = os.path.commonpath([os.path.dirname(path) for path in paths]) if paths else ''
    total = hashlib.sha256()
    for path in sorted(paths):
        name = os.path.relpath(path, root).replace(os.sep, '/')
        line = f'{name}\t{os.path.getsize(path)}' + (f'\t{sha256_of(path)}' if contents else '')
        total.update(os.fsencode(line + '\n'))
    return total.hexdigest()


def make_manifest(paths: list[str], settings: Mapping[str, Any], start: Mapping[str, Any]) -> dict[str, Any]:
    """The record, as data for JSON.

    Args:
        paths: the photos.
        settings: name -> value.
        start: ``name``, ``origin``, ``licence`` and ``sha256`` of the starting weights.
    """
    names = ('densecl', *TESTED)
    versions = {name: densecl.__version__ if name == 'densecl' else installed_version(name) for name in names}
    return {
        'photos': {
            'count': len(paths),
            'bytes': sum(os.path.getsize(path) for path in paths),
            'sha256': hash_files(paths),
            'hashed': 'names and sizes',
        },
        'start': dict(start),
        'settings': dict(settings),
        'versions': versions,
        'command': sys.argv,
    }
