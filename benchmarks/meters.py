"""Do the label-free meters order checkpoints as labelled probes do? A table, and Kendall's tau.

python benchmarks/meters.py --labelled data/camvid --out meters.csv imagenet runs/*/epoch_*.pth

A name of weights stands for its backbone at stride 16. ``cka`` and ``labels`` compare with the first one
of the same backbone. ``place`` is the share of the cells' variance that their place explains. A csv that
exists is gone on with: checkpoints that it has are not measured again.
"""

import argparse
import csv
from pathlib import Path

import torch
from mmengine.registry import init_default_scope
from scipy.stats import kendalltau

import densecl.registry  # noqa: F401
from densecl.engine.one_line import call
from densecl.evaluation import rank_me
from densecl.evaluation.dse import dse
from densecl.evaluation.features import FrozenEncoder, dense_features, open_encoder
from densecl.evaluation.labelled import open_labelled
from densecl.evaluation.measuring import read_photos
from densecl.evaluation.positions import place_share
from densecl.evaluation.probes import probe
from densecl.evaluation.signals import Signals

PROBES = ('linear', 'retrieval')
METERS = (
    'dse',
    'inter',
    'intra_batch',
    'intra_image',
    'dim',
    'correspondence',
    'photometric',
    'positional',
    'cka',
    'labels',
)
METERS += ('rank_me', 'place')


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoints', nargs='+', help='checkpoints, or names of weights')
    parser.add_argument('--labelled', required=True, help='folder with images/ and labels/, or a COCO json')
    parser.add_argument('--count', type=int, default=64, help='photos, and labelled images of a part')
    parser.add_argument('--out', required=True, help='csv file')
    return parser.parse_args()


def main() -> None:
    """Measure, write, and print how meters agree with probes."""
    args = parse_args()
    init_default_scope('densecl')
    labelled = open_labelled(args.labelled).at_most(args.count)
    size = labelled.use_size()
    photos, _ = read_photos([str(path) for path in labelled.train.images], args.count, size)
    out, signals = Path(args.out), {}
    rows = list(csv.DictReader(out.open())) if out.is_file() else []
    if rows and (new := {*METERS} - rows[0].keys()):
        raise ValueError(f'{out} has no column {", ".join(sorted(new))}: give another --out')
    for name in args.checkpoints:
        encoder = open_encoder(name) if Path(name).is_file() else open_encoder(name, output_stride=16)
        kind = type(encoder.backbone).__name__
        if kind not in signals:
            signals[kind] = Signals(photos)
            signals[kind].set_reference(encoder)
        if any(row['checkpoint'] == name for row in rows):
            continue
        rows.append(
            dict(checkpoint=name, backbone=kind) | measure(encoder, labelled, size, photos, signals[kind])
        )
        print({key: value if isinstance(value, str) else round(value, 3) for key, value in rows[-1].items()})
        with out.open('w', newline='') as file:
            writer = csv.DictWriter(file, rows[-1])
            writer.writeheader()
            writer.writerows(rows)
    for kind in sorted({row['backbone'] for row in rows}):
        report(kind, [row for row in rows if row['backbone'] == kind])


def measure(
    encoder: FrozenEncoder, labelled, size, photos: torch.Tensor, signals: Signals
) -> dict[str, float]:
    """Probes, meters, and the meters' spread over two halves of the photos."""
    scores = probe(encoder, labelled, size).scores()
    values = {name: scores[name].mean for name in PROBES}
    maps = dense_features(encoder, photos.split(16))
    values['rank_me'] = rank_me(maps.float().flatten(2).transpose(1, 2).flatten(0, 1))
    values['rank_me_spread'] = float('nan')
    values['place'] = place_share(maps)
    values |= {name: getattr(dse(maps), name) for name in ('inter', 'intra_batch', 'intra_image', 'dim')}
    for name, signal in signals.measure(encoder).items():
        values |= {name: signal.value, f'{name}_spread': signal.spread, f'{name}_seconds': signal.seconds}
    return {name: float(value) for name, value in values.items()}


def report(kind: str, rows: list[dict]) -> None:
    """Kendall's tau of each meter with each probe; and of the probes with each other."""
    print(f'{kind}, {len(rows)} checkpoints: tau with linear, with retrieval')
    columns = {name: [float(row[name]) for row in rows] for name in (*PROBES, *METERS)}
    for name in ('retrieval', *METERS):
        taus = (kendalltau(columns[name], columns[probe]).statistic for probe in PROBES)
        print(f'  {name:<15} {next(taus):6.2f} {next(taus):6.2f}')


if __name__ == '__main__':
    call(main)
