"""Versions this package was tested with (``tools/check_release.py`` tests both ends), and a warning."""

import importlib.metadata
import platform
import re
import warnings
from typing import NamedTuple


class Range(NamedTuple):
    """First and last tested version of a distribution, both included."""

    first: str
    last: str

    def __str__(self) -> str:
        return self.first if self.first == self.last else f'{self.first} to {self.last}'


TESTED = {
    'python': Range('3.10', '3.13'),
    'torch': Range('2.6', '2.15'),
    'torchvision': Range('0.21', '0.29'),
    'numpy': Range('2.0', '2.5'),
    'mmengine': Range('0.10.7', '0.10.7'),
    'mmcv': Range('2.0.0', '2.1.0'),
    'mmdet': Range('3.3.0', '3.3.0'),
    'mmsegmentation': Range('1.2.2', '1.2.2'),
    # Forks that go on, under the same module names (docs/support.md).
    'onedl-mmengine': Range('0.10.12', '0.10.12'),
    'onedl-mmcv': Range('2.3.6', '2.3.6'),
    'onedl-mmdetection': Range('3.5.1', '3.5.1'),
    'onedl-mmsegmentation': Range('1.4.2', '1.4.2'),
}
#: Fork -> what it stands in for.
FORKS = {
    'onedl-mmengine': 'mmengine',
    'onedl-mmcv': 'mmcv',
    'onedl-mmdetection': 'mmdet',
    'onedl-mmsegmentation': 'mmsegmentation',
}
# mmcv comes under several distribution names; mmcv-lite is the one without compiled code.
_ALIASES = {'mmcv': ('mmcv', 'mmcv-lite', 'mmcv-full')}
_warned: set[str] = set()


def installed_version(name: str) -> str | None:
    """Return the version of a distribution (or of Python), or None where it is not installed."""
    if name == 'python':
        return platform.python_version()
    for alias in _ALIASES.get(name, (name,)):
        try:
            return importlib.metadata.version(alias)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def of_interest() -> list[str]:
    """Distributions to look at here: forks where they are installed, instead of what they stand in for."""
    forks = [name for name in FORKS if installed_version(name)]
    hidden = {FORKS[name] for name in forks if not installed_version(FORKS[name])} | FORKS.keys() - forks
    return [name for name in TESTED if name not in hidden]


def in_tested_range(name: str, version: str) -> bool:
    """Return whether ``version`` lies in the tested range, to the digits the range gives."""
    first, last = (_digits(bound) for bound in TESTED[name])
    digits = _digits(version)
    return first <= digits[: len(first)] and digits[: len(last)] <= last


def warn_untested() -> list[str]:
    """Warn once about each installed distribution outside its tested range; return the lines for all."""
    lines = []
    for name, tested in TESTED.items():
        version = installed_version(name)
        if version is None or in_tested_range(name, version):
            continue
        old = _digits(version) < _digits(tested.first)
        said = f'needs {name} {tested.first} or newer' if old else f'is tested with {name} {tested}'
        lines.append(f'densecl {said}; {version} is installed')
        if name not in _warned:
            _warned.add(name)
            warnings.warn(lines[-1], stacklevel=3)
    return lines


def _digits(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version: 2.11.0+cu128 gives (2, 11, 0)."""
    match = re.match(r'\d+(?:\.\d+)*', version)
    return tuple(int(part) for part in match[0].split('.')) if match else ()
