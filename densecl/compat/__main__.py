"""``python -m densecl.compat``: print versions, operators with their backing, and devices."""

import importlib.util
import platform
import re
import sys
from pathlib import Path

import torch

from . import extension, install, versions
from .ops import OPERATORS


def report() -> str:
    """Install the mends and return a readable account of versions, operators and devices."""
    source = install()
    parts = [_versions(), _source(source), _devices()]
    return '\n\n'.join(parts if source == 'absent' else [*parts, _operators(source)])


def extension_functions() -> list[str]:
    """Return every function that mmcv's Python asks its compiled extension for.

    Raises:
        FileNotFoundError: If mmcv is not installed.
    """
    spec = importlib.util.find_spec('mmcv')
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError('mmcv is not installed: pip install mmcv-lite==2.1.0')
    names: set[str] = set()
    for path in (Path(spec.submodule_search_locations[0]) / 'ops').glob('*.py'):
        for block in re.findall(r"load_ext\(\s*'_ext',\s*\[(.*?)\]", path.read_text(), re.DOTALL):
            names.update(re.findall(r"'(\w+)'", block))
    return sorted(names)


def _versions() -> str:
    lines = [f'platform: {platform.platform()}', '']
    lines.append(f'{"package":<22}{"installed":<18}{"tested":<18}')
    for name in versions.of_interest():
        tested, version = versions.TESTED[name], versions.installed_version(name)
        note = '' if version is None or versions.in_tested_range(name, version) else 'untested'
        lines.append(f'{name:<22}{version or "not installed":<18}{str(tested):<18}{note}'.rstrip())
    return '\n'.join(lines)


def _source(source: str) -> str:
    file = getattr(sys.modules.get(extension.NAME), '__file__', 'unknown file')
    said = {
        'compiled': f'compiled mmcv ({file})',
        'stand-in': 'stand-in of densecl.compat (no compiled mmcv._ext loads)',
        'absent': 'none, mmcv is not installed (pip install mmcv-lite==2.1.0)',
    }
    return f'mmcv operators: {said[source]}'


def _devices() -> str:
    lines = [f'devices: cpu ({torch.get_num_threads()} threads)']
    for index in range(torch.cuda.device_count()):
        lines.append(f'         cuda:{index} {torch.cuda.get_device_name(index)}')
    return '\n'.join(lines)


def _operators(source: str) -> str:
    functions = extension_functions()
    if source == 'compiled':
        return '\n'.join(['operator', *(f'{name:<36}compiled' for name in functions)])
    lines = [f'{"operator":<36}backing']
    lines += [f'{name:<36}{operator.backing}' for name, operator in sorted(OPERATORS.items())]
    missing = [f for f in functions if f not in OPERATORS and not f.startswith('get_compil')]
    lines += ['', f'without a stand-in ({len(missing)}; each says so when it is called):']
    return '\n'.join(lines + [f'  {name}' for name in missing])


if __name__ == '__main__':
    print(report())
