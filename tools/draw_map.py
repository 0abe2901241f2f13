#!/usr/bin/env python
"""Draw docs/images/map.svg: every method where its choices put it, coloured by its objective.

python tools/draw_map.py           # draw
python tools/draw_map.py --check   # exit with 1 where the picture is stale

Rows are units, columns are targets. Read from the configs of the papers, as the table of
tools/method_table.py; a method with several heads stands in several places.
"""

import argparse
import sys
from html import escape

from method_table import METHODS, ROOT
from mmengine.config import Config

PICTURE = ROOT / 'docs/images/map.svg'
#: Title -> types of units.
ROWS = {
    'image': ('Image', 'ImageWithHard', 'Prototypes', 'Patches', 'PatchSet'),
    'cells': ('Cells', 'CellPrototypes', 'LabelledCells', 'QuantizedCells'),
    'hidden patches': ('MaskedCells', 'DecodedCells', 'AskedCells', 'TokenPrototypes'),
    'boxes, masks, windows': ('Boxes', 'DetectorBoxes', 'Masks', 'Windows'),
    'groups that are found': ('Groups', 'JointObjects'),
}
#: Title -> types of targets, and the pretrainers that stand for one where a head names none.
COLUMNS = {
    'the same network': ('SharedPretrainer',),
    'its momentum copy': ('MomentumPretrainer', 'features'),
    'a frozen network': ('start', 'TeacherFeatures'),
    'pixels, visual words': ('Pixels', 'ColorBins', 'KMeansTokens', 'VQKDTokens', 'DALLETokens'),
    'what is known, texts': ('Known', 'Positions', 'Text'),
}
#: Title -> colour, types of objectives.
FAMILIES = {
    'contrast': ('#bfdbfe', ('InfoNCE', 'NCE', 'Triplet', 'FMutualInformation')),
    'attraction alone': ('#fde68a', ('Cosine',)),
    'statistics': ('#bbf7d0', ('BarlowTwins', 'VICReg', 'PositionVICReg', 'KoLeo')),
    'clusters': (
        '#fbcfe8',
        ('SwappedPrediction', 'SelfDistillation', 'NeighbourDistillation', 'OnlineClusters'),
    ),
    'relations': (
        '#ddd6fe',
        ('Gram', 'KernelAlignment', 'SimilarityRows', 'NeighbourOrder', 'QueueDistillation', 'InContext'),
    ),
    'an answer': (
        '#fed7aa',
        ('Reconstruction', 'Regression', 'CodeCrossEntropy', 'SoftCrossEntropy', 'LabelCrossEntropy',
         'PrototypeAlignment', 'BoxRegression', 'Commitment'),
    ),
}  # fmt: skip
OBJECTIVES = {title: kinds for title, (_, kinds) in FAMILIES.items()}
LEFT, TOP, GAP, HIGH, LETTER = 120, 62, 6, 22, 6.6


def places() -> dict[tuple[str, str], list[tuple[str, str]]]:
    """(row, column) -> the methods there and their colours, in the table's order."""
    found: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for method, path in METHODS.items():
        model = Config.fromfile(ROOT / 'configs' / path).model
        for head in model.heads.values():
            column = named(COLUMNS, of(head.get('target')) or model.type, 'target', method)
            row = named(ROWS, of(head.get('units')) or 'Image', 'units', method)
            family = named(OBJECTIVES, of(head['objective']), 'objective', method)
            cell = found.setdefault((row, column), [])
            if method not in [name for name, _ in cell]:
                cell.append((method, FAMILIES[family][0]))
    return found


def of(config) -> str | None:
    """The type of a part; of a sum, and of a part for each kind of unit, that of the first."""
    if config is None or isinstance(config, str):
        return config
    if config.get('type') == 'Sum':
        return of(config['objectives'][0])
    return config['type'] if 'type' in config else of(next(iter(config.values())))


def named(groups: dict, kind: str, field: str, method: str) -> str:
    """The title whose types hold a kind."""
    for title, kinds in groups.items():
        if kind in kinds:
            return title
    raise SystemExit(
        f'draw_map: {field} {kind} of {method} has no place on the map; give it one in {__file__}'
    )


def drawn() -> str:
    """The picture."""
    cells = places()
    columns = {title: 320 if i < 2 else 200 for i, title in enumerate(COLUMNS)}
    laid = {key: _lines(each, columns[key[1]] - 2 * GAP) for key, each in cells.items()}
    lines = {r: max([len(_words(r))] + [len(laid.get((r, c), [])) for c in COLUMNS]) for r in ROWS}
    rows = {r: GAP + count * (HIGH + GAP) for r, count in lines.items()}
    width, height = LEFT + sum(columns.values()) + GAP, TOP + sum(rows.values()) + GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="Helvetica, Arial, sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    x = LEFT
    for title, (colour, _) in FAMILIES.items():
        parts.append(_chip(x, 6, title, colour))
        x += _width(title) + GAP
    parts.append(_title(LEFT - GAP, 21, 'scored by', 'end'))
    x = LEFT
    for column, wide in columns.items():
        parts.append(_title(x + wide / 2, TOP - 12, column, 'middle'))
        y = TOP
        for row, high in rows.items():
            fill = '#f8fafc' if (list(rows).index(row) + list(columns).index(column)) % 2 else '#f1f5f9'
            parts.append(f'<rect x="{x:g}" y="{y}" width="{wide:g}" height="{high}" fill="{fill}"/>')
            for line, chips in enumerate(laid.get((row, column), [])):
                at = x + GAP
                for name, colour in chips:
                    parts.append(_chip(at, y + GAP + line * (HIGH + GAP), name, colour))
                    at += _width(name) + GAP
            y += high
        x += wide
    y = TOP
    for row, high in rows.items():
        for i, word in enumerate(_words(row)):
            parts.append(_title(LEFT - GAP, y + 21 + 15 * i, word, 'end'))
        y += high
    return '\n'.join([*parts, '</svg>', ''])


def _words(title: str) -> list[str]:
    """A title in lines of at most 16 letters."""
    lines = ['']
    for word in title.split():
        if len(lines[-1]) + len(word) > 15:
            lines.append('')
        lines[-1] = f'{lines[-1]} {word}'.strip()
    return lines


def _title(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-weight="bold">{text}</text>'


def _width(name: str) -> float:
    return round(len(name) * LETTER + 14, 1)


def _chip(x: float, y: float, name: str, colour: str) -> str:
    wide = _width(name)
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{wide:g}" height="{HIGH}" rx="6" fill="{colour}"/>'
        f'<text x="{x + wide / 2:g}" y="{y + 15:g}" text-anchor="middle">{escape(name)}</text>'
    )


def _lines(chips: list[tuple[str, str]], wide: float) -> list[list[tuple[str, str]]]:
    """Chips in lines that are not wider."""
    lines, at = [[]], 0.0
    for chip in chips:
        needed = _width(chip[0]) + GAP
        if lines[-1] and at + needed - GAP > wide:
            lines.append([])
            at = 0.0
        lines[-1].append(chip)
        at += needed
    return lines


def main() -> int:
    """Draw, or compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--check', action='store_true', help='change nothing, say whether the picture is stale'
    )
    picture = drawn()
    if not parser.parse_args().check:
        PICTURE.write_text(picture, encoding='utf-8')
    elif not PICTURE.is_file() or PICTURE.read_text(encoding='utf-8') != picture:
        print(f'{PICTURE}: not what the configs say; run python tools/draw_map.py')
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
