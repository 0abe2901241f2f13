#!/usr/bin/env python
"""Write the measured tables of the documentation from the CSVs in benchmarks/results.

    python tools/results.py            # rewrite docs/results.md, README.md and the pictures of curves
    python tools/results.py --check    # exit with 1 where one of them is stale
    python tools/results.py --add small --benchmark work_dirs/benchmark --runs work_dirs/mocov2

A study is a folder of benchmarks/results: study.json says what its tables show. A document holds, between
<!-- results: STUDY full --> (or short) and <!-- end of results -->, what is written here. --add takes the
figures of tools/benchmark.py and the folders of pretrainings into the CSVs.
"""

import argparse
import re
import sys
from pathlib import Path

from densecl.runs import study_page
from densecl.runs.study import read_study

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / 'benchmarks/results'
PAGES = (ROOT / 'README.md', ROOT / 'docs/results.md')
BLOCK = re.compile(r'<!-- results: (\S+)(?: (full|short))? -->\n.*?<!-- end of results -->', re.S)


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--check', action='store_true', help='change nothing, say what is stale')
    parser.add_argument('--add', metavar='STUDY', help='study that measurements are added to')
    parser.add_argument('--benchmark', nargs='+', type=Path, default=[], help='--out of tools/benchmark.py')
    parser.add_argument('--runs', nargs='+', type=Path, default=[], help='work directories of pretrainings')
    parser.add_argument(
        '--facts', nargs='+', default=[], metavar='COLUMN=VALUE',
        help='of added measurements that do not say it, such as machine="H100" commit=abc1234 side=112',
    )  # fmt: skip
    return parser.parse_args()


def main() -> int:
    """Add, write, or compare."""
    args = parse_args()
    try:
        if args.add:
            add(RESULTS / args.add, args)
            return 0
        if args.benchmark or args.runs:
            raise ValueError('--benchmark and --runs are added to a study: give --add STUDY')
        stale = [said for page in PAGES for said in renewed(page, args.check)]
    except (OSError, ValueError) as error:
        print(f'results: {error}', file=sys.stderr)
        return 2
    for said in stale:
        print(f'{said} is not what the CSVs say; run python tools/results.py')
    return bool(stale)


def add(folder: Path, args: argparse.Namespace) -> None:
    """Take measurements into the CSVs of a study."""
    from densecl.runs import study_files  # with torch

    columns = study_files.RUN_COLUMNS
    facts = dict(fact.partition('=')[::2] for fact in args.facts)
    if set(facts) - set(columns):
        raise ValueError(f'--facts takes COLUMN=VALUE of {", ".join(columns)}; got {" ".join(args.facts)}')
    for out in args.benchmark:
        print(study_files.add_benchmark(folder, out, facts))
    for said in study_files.add_runs(folder, args.runs, facts) if args.runs else ():
        print(said)


def renewed(page: Path, check: bool) -> list[str]:
    """Rewrite a page and its pictures, or say what would be."""
    text, pictures, stale = page.read_text(encoding='utf-8'), [], []

    def block(match: re.Match) -> str:
        content, picture = made(*match.groups())
        pictures.extend(picture)
        lines = match.group().splitlines()
        return f'{lines[0]}\n\n{content}\n\n{lines[-1]}'

    new = BLOCK.sub(block, text)
    if new != text:
        stale.append(str(page.relative_to(ROOT)))
    for study, picture in pictures:
        if study_page.shows(picture) != study_page.digest(study):
            stale.append(str(picture.relative_to(ROOT)))
            if not check:
                study_page.draw_curves(study, picture)
    if not check and new != text:
        page.write_text(new, encoding='utf-8')
    return stale if check else []


def made(name: str, form: str | None) -> tuple[str, list]:
    """What stands in a block, and the study with the picture that it shows."""
    if name == 'published':
        return study_page.published(RESULTS / 'published.csv'), []
    study = read_study(RESULTS / name)
    if form == 'short':
        return study_page.short(study), []
    picture, link = ROOT / f'docs/images/curves_{name}.png', f'../benchmarks/results/{name}'
    drawn = [(study, picture)] if study.curves else []
    return study_page.full(study, link, f'images/{picture.name}' if drawn else None), drawn


if __name__ == '__main__':
    sys.exit(main())
