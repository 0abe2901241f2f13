"""Try one config of every model family of mmdet and mmseg and write which of them run.

Each is built small, trained one step and asked for a prediction on random images, on CPU and
without a download. Usage::

    python tools/support_matrix.py [--out docs/support.md] [--seconds 120] [--only fcos upernet]
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import multiprocessing
import re
import time
import traceback
from contextlib import redirect_stderr, redirect_stdout
from datetime import date
from pathlib import Path
from typing import NamedTuple

import torch

from densecl import compat

START, END = '<!-- support matrix: start -->', '<!-- support matrix: end -->'
NO_MODEL = ('_base_', 'common', 'dsdl')
TEXT = 'not tried: needs a text encoder from the Hugging Face hub'
VIDEO = 'not tried: takes videos'
NOT_TRIED = {
    'mmdet::glip': TEXT,
    'mmdet::grounding_dino': TEXT,
    'mmdet::mm_grounding_dino': TEXT,
    'mmdet::bytetrack': VIDEO,
    'mmdet::deepsort': VIDEO,
    'mmdet::mask2former_vis': VIDEO,
    'mmdet::masktrack_rcnn': VIDEO,
    'mmdet::ocsort': VIDEO,
    'mmdet::qdtrack': VIDEO,
    'mmdet::sort': VIDEO,
    'mmdet::strongsort': VIDEO,
    'mmdet::soft_teacher': 'not tried: takes labelled and unlabelled batches together',
    'mmseg::vpd': 'not tried: needs the code and weights of Stable Diffusion',
    'mmdet::reid': 'not tried: an image classifier for tracking',
}

# How errors name a package that is not installed.
PACKAGE = re.compile(
    r"No module named '(\w+)|'imports': \[?'(\w+)|(skimage) is not|install (Detectron2|sklearn)",
    re.IGNORECASE,
)
# Where the plainest name is not the model that gives the folder its name.
CONFIGS = {
    'mmdet::cascade_rpn': 'cascade-rpn_faster-rcnn_r50-caffe_fpn_1x_coco.py',
    'mmdet::libra_rcnn': 'libra-faster-rcnn_r50_fpn_1x_coco.py',
    'mmseg::swin': 'swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py',
    'mmdet::dcn': 'faster-rcnn_r50-dconv-c3-c5_fpn_1x_coco.py',
    'mmdet::dcnv2': 'faster-rcnn_r50-mdconv-c3-c5_fpn_1x_coco.py',
}
# Side of the images in pixels; these two are built for a certain size or more.
SIZE = 96
SIZES = {'mmdet::ssd': 300, 'mmseg::mobilenet_v3': 512}


class Row(NamedTuple):
    """Outcome of one family."""

    package: str
    family: str
    config: str
    result: str
    seconds: float


def main() -> None:
    """Run every family and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--out', type=Path, default=Path('docs/support.md'))
    parser.add_argument('--seconds', type=float, default=120, help='time limit of a family')
    parser.add_argument('--only', nargs='*', help='families to try anew, all if left out')
    args = parser.parse_args()
    torch.set_num_threads(1)
    compat.install()
    import mmdet.models  # noqa: F401  both are inherited by the children
    import mmseg.models  # noqa: F401

    rows = {} if args.only is None else read(args.out)
    for name in families():
        if args.only and name.split('::')[1] not in args.only:
            continue
        row = rows[name] = try_family(name, args.seconds)
        print(f'{row.seconds:6.1f} s  {name:<32}{row.config:<60}{row.result}', flush=True)
    write(args.out, table([rows[name] for name in families() if name in rows]))


def families() -> list[str]:
    """Return ``mmdet::fcos`` and so on: every folder of configs that holds models."""
    found = []
    for package in ('mmdet', 'mmseg'):
        for folder in sorted(config_folder(package).iterdir()):
            if folder.is_dir() and folder.name not in NO_MODEL and list(folder.glob('*.py')):
                found.append(f'{package}::{folder.name}')
    return found


def config_folder(package: str) -> Path:
    """Return the folder of the configs that were installed with a package."""
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent / '.mim' / 'configs'


def representative(name: str) -> str:
    """Return the file name of a family's plainest config, with a ResNet-50 where it has one."""
    if name in CONFIGS:
        return CONFIGS[name]
    package, family = name.split('::')
    names = sorted(p.name for p in (config_folder(package) / family).glob('*.py'))
    whole = [n for n in names if re.search(r'\d|coco|ade20k|cityscapes', n)] or names
    return min(whole, key=lambda n: (not re.search(r'[-_]r50', n), len(n), n))


def try_family(name: str, seconds: float) -> Row:
    """Try one family in a child process that is stopped after ``seconds``."""
    package, family = name.split('::')
    config = representative(name)
    if name in NOT_TRIED:
        return Row(package, family, config, NOT_TRIED[name], 0.0)
    context = multiprocessing.get_context('fork')
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(sender, name, config), daemon=True)
    start = time.perf_counter()
    child.start()
    sender.close()
    result = f'not known: took over {seconds:.0f} s'
    if receiver.poll(seconds):
        try:
            result = receiver.recv()
        except EOFError:
            result = 'fails: the process died, mostly for want of memory'
    child.kill()
    child.join()
    return Row(package, family, config, result, time.perf_counter() - start)


def _child(sender, name: str, config: str) -> None:
    """Try one config and send the outcome in words."""
    from support.trial import try_model

    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        for depth in (18, None):  # not every model can do with a shallower backbone
            try:
                try_model(f'{name}/{config}', SIZES.get(name, SIZE), depth)
                result = 'runs'
            except NotImplementedError as error:
                operator = re.search(r"mmcv operator '(\w+)'", str(error))
                result = f'needs compiled mmcv: {operator[1]}' if operator else _reason(error)
            except Exception as error:
                result = _reason(error)
            if not result.startswith('fails'):
                break
    sender.send(result)


def _reason(error: BaseException) -> str:
    """Return the error in one line with the place it comes from."""
    missing = PACKAGE.search(str(error))
    if missing:
        return f'needs another package: {next(filter(None, missing.groups()))}'
    place = traceback.extract_tb(error.__traceback__)[-1]
    text = ' '.join(str(error).split())[:160]
    return f'fails: {type(error).__name__}: {text} ({Path(place.filename).name}:{place.lineno})'


def table(rows: list[Row]) -> str:
    """Return the markdown table with what it was made with."""
    versions = ', '.join(f'{k} {compat.versions.installed_version(k)}' for k in compat.TESTED)
    runs = sum(row.result == 'runs' for row in rows)
    lines = [
        f'{runs} of {len(rows)} families run. Made on {date.today()} by '
        f'`python tools/support_matrix.py` on CPU with {versions}.',
        '',
        '| package | family | config tried | result |',
        '| --- | --- | --- | --- |',
    ]
    for row in rows:
        result = row.result.replace('|', '\\|')
        lines.append(f'| {row.package} | {row.family} | `{row.config}` | {result} |')
    return '\n'.join(lines)


def read(path: Path) -> dict[str, Row]:
    """Return the rows of a page that is already there, by family."""
    page = path.read_text() if path.exists() else ''
    rows = {}
    for package, family, config, result in re.findall(
        r'^\| (mm\w+) \| (\S+) \| `(\S+)` \| (.+) \|$', page, re.MULTILINE
    ):
        rows[f'{package}::{family}'] = Row(package, family, config, result, 0.0)
    return rows


def write(path: Path, text: str) -> None:
    """Put the table between the marks of a page, or at the end of one without them."""
    page = path.read_text() if path.exists() else '# Which models run\n'
    block = f'{START}\n{text}\n{END}'
    if START in page:
        page = page[: page.index(START)] + block + page[page.index(END) + len(END) :]
    else:
        page = f'{page.rstrip()}\n\n{block}\n'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page)


if __name__ == '__main__':
    main()
