#!/usr/bin/env python
"""Post-training methods under one protocol: one start, equal time or photos, probes and fine-tuning after it.

python benchmarks/post_training.py configs/neco/neco_efficientnet-lite0_1xb16-continue-4e_photos.py \
    configs/anchor/anchor_efficientnet-lite0_1xb16-coslr-16e_photos.py --start imagenet --minutes 5 \
    --photos data/camvid/images/train --labelled data/camvid --seeds 0 1 2 --out work_dirs/post_training

Each config is run from the same weights: backbone, normalisation, and the width of its heads become those of
the start, all else is the recipe's. Ten steps are timed first, and the run gets as many epochs as the minutes
hold, or it gets ``--epochs``. Frozen features are then read by the linear and by the retrieval probe, and by
label-free meters. With ``--iters`` a slim model is fine-tuned from them, too; the run of each seed and the
start are given the same seed for it, and the difference of these pairs is printed. What is there already is
not made again, so that several processes may fill one folder, each with other configs or seeds.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import fmean, median, stdev

from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope

from densecl.engine.launch import read_config, use_amp, use_pretrained
from densecl.engine.one_line import call
from densecl.evaluation.features import FrozenEncoder, open_encoder
from densecl.evaluation.labelled import open_labelled
from densecl.evaluation.measuring import read_photos
from densecl.evaluation.probes import probe
from densecl.evaluation.signals import Signals
from densecl.files import write_text
from densecl.runs.starts import Chosen, choose_start

ROOT = Path(__file__).resolve().parents[1]
LITE0 = 320  # channels that the recipes' heads are made for
METERS = ('dse', 'correspondence', 'cka')


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('configs', nargs='*', help='recipes; none: the start alone')
    parser.add_argument('--start', default='imagenet', help='weights: a file or a name')
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument('--minutes', type=float, help='of training, the same for every recipe')
    length.add_argument('--epochs', type=int, help='the same for every recipe')
    parser.add_argument('--iters', type=int, default=0, help='steps of fine-tuning; 0: none')
    parser.add_argument('--photos', required=True, help='folder of photos to train on')
    parser.add_argument('--labelled', required=True, help='folder with images/ and labels/, or a COCO json')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0], help='of the training and fine-tuning')
    parser.add_argument('--amp', action='store_true', help='train in bf16')
    parser.add_argument('--out', default='work_dirs/post_training', help='folder of runs and figures')
    return parser.parse_args()


def main() -> None:
    """Train and measure what is not there yet, and print the table."""
    args = parse_args()
    init_default_scope('densecl')
    out, chosen = Path(args.out), choose_start(args.start)
    check_same(out / 'protocol.json', args)
    measure = Measure(chosen, args.labelled)
    frozen = measured(out / 'start.json', measure.start)
    rows = {'the start': [frozen | tuned(args.start, seed, args, out / 'start') for seed in args.seeds]}
    print(table(rows), flush=True)
    for config in map(Path, args.configs):
        rows[config.stem] = [one_run(config, seed, args, chosen, measure) for seed in args.seeds]
        print(table(rows), flush=True)


def one_run(config: Path, seed: int, args: argparse.Namespace, chosen: Chosen, measure: 'Measure') -> dict:
    """Figures of one training."""
    folder = Path(args.out) / f'{config.stem}_{seed}'

    def make() -> dict:
        epochs = args.epochs or epochs_within(config, args, chosen)
        cfg = from_start(config, chosen, args)
        cfg.train_cfg.max_epochs, cfg.randomness = epochs, dict(seed=seed)
        began = time.monotonic()
        train(cfg, folder)
        minutes = (time.monotonic() - began) / 60
        return dict(measure(folder / f'epoch_{epochs}.pth'), epochs=epochs, minutes=minutes)

    figures = measured(folder / 'figures.json', make)
    return figures | tuned(folder / f'epoch_{figures["epochs"]}.pth', seed, args, folder)


def tuned(weights: Path | str, seed: int, args: argparse.Namespace, folder: Path) -> dict[str, float]:
    """What a slim model has after a short fine-tuning, in a process of its own, where that is asked."""
    if not args.iters:
        return {}

    def make() -> dict[str, float]:
        out = folder / f'finetuned_{seed}'
        options = ['--size', 'slim', '--iters', str(args.iters), '--seed', str(seed), '--out', str(out)]
        run(['-m', 'densecl', 'finetune', str(weights), '--data', args.labelled, *options], out)
        found = json.loads((out / 'metrics.json').read_text())
        return {'finetuned': next(iter(found.values()))}

    return measured(folder / f'finetuned_{seed}.json', make)


def check_same(file: Path, args: argparse.Namespace) -> None:
    """Refuse to go on in a folder whose figures were made otherwise."""
    names = ('start', 'minutes', 'epochs', 'iters', 'photos', 'labelled', 'amp')
    now = {name: getattr(args, name) for name in names}
    then = measured(file, lambda: now)
    if then != now:
        raise SystemExit(f'post_training: --out {args.out} has figures of {then}, not of {now}; take another')


def measured(file: Path, make) -> dict:
    """What a file says, or what is made and written there."""
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(make())
        write_text(file, text)
    return json.loads(file.read_text())


def from_start(config: Path, chosen: Chosen, args: argparse.Namespace) -> Config:
    """A recipe whose backbone is that of the start."""
    cfg, layout = read_config(str(config)), chosen.layout
    model = cfg.model
    model.backbone = ConfigDict(layout.backbone)
    model.data_preprocessor.update(mean=list(chosen.start.mean), std=list(chosen.start.std))
    for head in model.heads.values():
        for part in ('projector', 'objective'):
            widen(head.get(part), layout.width)
    use_pretrained(cfg, args.start)
    if args.amp:
        use_amp(cfg, 'bf16')
    cfg.train_dataloader.dataset.data_root = args.photos
    cfg.default_hooks.checkpoint.interval = 1000  # and after the last epoch
    cfg.default_hooks.logger.interval = 1
    return cfg


def widen(part, width: int) -> None:
    """Give a part of a head that reads the backbone's map another width."""
    if not isinstance(part, dict):
        return
    channels = part.get('channels')
    if isinstance(channels, tuple | list) and channels[0] == LITE0:
        part['channels'] = (width, *channels[1:])
    for name in ('in_channels', 'dim'):
        if part.get(name) == LITE0:
            part[name] = width


def epochs_within(config: Path, args: argparse.Namespace, chosen: Chosen) -> int:
    """How many epochs the minutes hold, by the median of ten steps."""
    cfg = from_start(config, chosen, args)
    batch = cfg.train_dataloader.batch_size
    images = len(open_photos(cfg))
    if images < 12 * batch:
        raise SystemExit(f'post_training: --photos has {images} images, of {12 * batch} a step can be timed')
    cfg.train_dataloader.dataset.max_images, cfg.train_cfg.max_epochs = 12 * batch, 1
    cfg.log_processor.window_size = 1  # each step by itself
    if 'heads_first' in cfg.model:
        cfg.model.heads_first = 0  # the backbone's part is timed, too
    folder = Path(args.out) / 'timing' / config.stem
    train(cfg, folder)
    newest = max(folder.glob('*/vis_data/scalars.json'), key=lambda path: path.stat().st_mtime)
    lines = [json.loads(line) for line in newest.read_text().splitlines()]
    step = median([line['time'] for line in lines if 'time' in line][2:])
    return max(1, round(args.minutes * 60 / (step * (images // batch))))


def open_photos(cfg: Config):
    """The source of the training's photos."""
    from densecl.datasets.pretrain_dataset import build_source

    dataset = cfg.train_dataloader.dataset
    return build_source(dataset.data_root, dataset.get('source'))


def train(cfg: Config, folder: Path) -> None:
    """``tools/train.py`` on a config, in a process of its own, with one thread."""
    folder.mkdir(parents=True, exist_ok=True)
    cfg.dump(folder / 'recipe.py')
    command = [str(ROOT / 'tools/train.py'), str(folder / 'recipe.py'), '--work-dir', str(folder)]
    run([*command, '--cfg-options', 'allow=folder'], folder)  # of a run that was cut


def run(command: list[str], folder: Path) -> None:
    """Python in a process of its own, with one thread; what it says goes to ``output.log``."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    with (folder / 'output.log').open('w') as log:
        subprocess.run(
            [sys.executable, *command], stdout=log, stderr=subprocess.STDOUT, check=True, env=environment
        )


class Measure:
    """Probes and label-free meters of a backbone; drift is measured from the start."""

    def __init__(self, chosen: Chosen, labelled: str) -> None:
        self.chosen, self.labelled = chosen, open_labelled(labelled)
        self.size = self.labelled.use_size()
        images = [str(path) for path in self.labelled.train.images]
        self.photos, _ = read_photos(images, 64, self.size)
        self.signals = Signals(self.photos)
        self.signals.set_reference(self._start())

    def _start(self):
        start, backbone = self.chosen.start, self.chosen.layout.backbone
        options = {name: value for name, value in backbone.items() if name != 'type'}
        return FrozenEncoder(start.build(**options), dict(mean=start.mean, std=start.std))

    def start(self) -> dict[str, float]:
        """Figures of the start."""
        return self.of(self._start())

    def __call__(self, checkpoint: Path) -> dict[str, float]:
        return self.of(open_encoder(str(checkpoint)))

    def of(self, encoder) -> dict[str, float]:
        """Figures of an encoder."""
        scores = probe(encoder, self.labelled, self.size).scores()
        signals = self.signals.measure(encoder)
        figures = {name: scores[name].mean for name in ('linear', 'retrieval')}
        return figures | {name: float(signals[name].value) for name in METERS}


def table(rows: dict[str, list[dict]]) -> str:
    """Markdown: a line for each method, mean and spread over its seeds."""
    names = ('linear', 'retrieval', *METERS)
    start = [run.get('finetuned') for run in rows['the start']]
    tuning = ['fine-tuned', 'difference'] if start[0] is not None else []
    titles = ['run', 'epochs', *names, *tuning]
    lines = [f'| {" | ".join(titles)} |', '|---' * len(titles) + '|']
    for name, runs in rows.items():
        epochs = ', '.join(sorted({str(run.get('epochs', '')) for run in runs}))
        cells = [shown([run[figure] for run in runs], 1 if figure in names[:2] else 3) for figure in names]
        if tuning:
            now = [run['finetuned'] for run in runs]
            cells += [shown(now, 2), shown([a - b for a, b in zip(now, start, strict=True)], 2)]
        lines.append(f'| {" | ".join([name, epochs, *cells])} |')
    return '\n'.join(lines)


def shown(values: list[float], digits: int) -> str:
    """Mean, and the standard deviation (n - 1) of several."""
    text = f'{fmean(values):.{digits}f}'
    return text if len(values) == 1 else f'{text} ± {stdev(values):.{digits}f}'


if __name__ == '__main__':
    call(main)
