"""Config inheritance across packages without pkg_resources."""

import importlib.metadata
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.utils import get_installed_path, is_installed

import densecl
from densecl.compat import packages

ROOT = Path(densecl.__file__).resolve().parents[1]


def test_inheritance_from_mmdet_and_mmseg_with_pkg_resources_gone(tmp_path):
    pytest.importorskip('mmdet')
    pytest.importorskip('mmseg')
    (tmp_path / 'det.py').write_text("_base_ = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'\nx = 1\n")
    (tmp_path / 'seg.py').write_text("_base_ = 'mmseg::_base_/models/fcn_r50-d8.py'\n")
    code = f"""
import sys
sys.modules['pkg_resources'] = None  # importing it raises, as without setuptools
sys.path.insert(0, {str(ROOT)!r})
from densecl import compat
compat.install()
from mmengine.config import Config
det = Config.fromfile({str(tmp_path / 'det.py')!r})
seg = Config.fromfile({str(tmp_path / 'seg.py')!r})
print(det.model.type, det.model.backbone.depth, seg.model.decode_head.type)
"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.stdout.split() == ['MaskRCNN', '50', 'FCNHead'], done.stderr


def test_names_of_distributions_and_modules():
    pytest.importorskip('mmseg')
    folder = Path(importlib.import_module('mmseg').__file__).parent
    assert Path(get_installed_path('mmsegmentation')) == folder
    assert Path(get_installed_path('mmseg')) == folder
    assert is_installed('mmsegmentation') and is_installed('mmseg')
    assert packages.package2module('mmsegmentation') == 'mmseg'


def test_a_fork_stands_in_under_the_name_of_its_distribution(monkeypatch):
    folder = Path(pytest.importorskip('mmseg').__file__).parent
    installed = packages._distribution('mmsegmentation')

    def distribution(name):
        if name != 'onedl-mmsegmentation':
            raise importlib.metadata.PackageNotFoundError(name)
        return installed

    monkeypatch.setattr(importlib.metadata, 'distribution', distribution)
    assert is_installed('mmsegmentation') and not is_installed('mmpretrain')
    assert Path(get_installed_path('mmsegmentation')) == folder


def test_what_is_not_installed():
    assert not is_installed('no_such_package')
    with pytest.raises(ModuleNotFoundError, match='pip install no_such_package'):
        get_installed_path('no_such_package')
    with pytest.raises(ValueError, match='no_such_package'):
        packages.package2module('no_such_package')


def test_densecl_resolves_in_a_source_checkout():
    name = 'densecl/densecl_resnet50_8xb32-coslr-200e_in1k.py'
    here = Config.fromfile(ROOT / 'configs' / name)
    inherited = Config.fromstring(f"_base_ = 'densecl::{name}'", '.py')
    assert inherited.keys() == here.keys()
    assert inherited.model.type == here.model.type
    # as if it stood beside ours: no mark of another package, which collate_fn would get as an argument
    assert inherited.train_dataloader == here.train_dataloader


def test_densecl_resolves_in_an_installed_package(tmp_path):
    site = tmp_path / 'site-packages'
    ignore = shutil.ignore_patterns('__pycache__', 'sample')
    shutil.copytree(ROOT / 'densecl', site / 'densecl', ignore=ignore)
    (site / 'configs').mkdir()  # somebody else's
    target = site / 'densecl' / '.mim' / 'configs' / 'densecl'
    target.mkdir(parents=True)
    (target / 'one.py').write_text('answer = 42\n')
    code = f"""
import sys
sys.path.insert(0, {str(site)!r})
from densecl import compat
compat.install()
from mmengine.config import Config
print(Config.fromstring("_base_ = 'densecl::densecl/one.py'", '.py').answer)
"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.strip() == '42', done.stderr


def test_a_wrong_name_says_what_there_is():
    with pytest.raises(FileNotFoundError) as caught:
        Config.fromstring("_base_ = 'densecl::densecl/none.py'", '.py')
    assert 'densecl::densecl/none.py does not exist' in str(caught.value)
    assert 'densecl_resnet50_8xb32-coslr-200e_in1k.py' in str(caught.value)


def test_install_replaces_every_name_once():
    from mmengine.config import config, utils

    look_up = config._get_external_cfg_path
    packages.install_packages()
    assert config._get_external_cfg_path is utils._get_external_cfg_path is look_up
    assert not hasattr(look_up.densecl_original, 'densecl_original')
    assert config.get_installed_path is get_installed_path is packages.get_installed_path
