"""Shared set-up of the tests."""

import gc
import os
import runpy
from pathlib import Path

os.environ.setdefault('OMP_NUM_THREADS', '1')

import pytest
import run_over_processes
import torch

import densecl.compat

densecl.compat.install()

from mmengine.utils import ManagerMixin  # noqa: E402

import densecl.registry  # noqa: E402, F401


def pytest_collection_modifyitems(items):
    """Tests marked ``gpu`` skip, with a reason, where there is no CUDA device."""
    if torch.cuda.is_available():
        return
    for item in items:
        if 'gpu' in item.keywords:
            item.add_marker(pytest.mark.skip(reason='needs a CUDA device'))


def pytest_collection_finish(session):
    """What has been imported stays: mmengine collects garbage with each data set, half a second otherwise."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _own_globals():
    """What a runner leaves behind for the process (scope, logger, messages, visualizer) is taken back."""
    before = {kind: dict(kind._instance_dict) for kind in all_subclasses(ManagerMixin)}
    yield
    for kind in all_subclasses(ManagerMixin):
        kind._instance_dict.clear()
        kind._instance_dict.update(before.get(kind, {}))


def all_subclasses(kind: type) -> list[type]:
    return [one for child in kind.__subclasses__() for one in (child, *all_subclasses(child))]


@pytest.fixture(scope='session')
def over_processes(tmp_path_factory):
    """``over_processes(script, 2)``: what ``everything()`` of a script returns in each of two gloo processes.

    With 0 it is called in this process, without a process group, and its result returned alone.
    """

    def run(script: Path, processes: int) -> list | dict:
        if not processes:
            return runpy.run_path(str(script))['everything']()
        return run_over_processes.run(script, tmp_path_factory.mktemp(script.stem) / 'out', processes)

    return run
