#!/usr/bin/env python
"""Mean, spread and range of the channels of a folder of images, as lines of a config.

python tools/image_statistics.py my/tiffs
python tools/image_statistics.py my/tiffs --bands 3 2 1 7 --count 1000
"""

import argparse

from densecl.datasets import Folder, SensorDecoder, Statistics, estimate_statistics
from densecl.datasets.sensor import load_bands
from densecl.datasets.sources import SENSOR_EXTENSIONS
from densecl.engine.one_line import call


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('folder', help='of images: tiff, npy, DICOM, png, jpg, ...')
    parser.add_argument('--bands', nargs='+', type=int, help='channels to use, counted from 0 (all)')
    parser.add_argument('--nodata', type=float, help='the value where nothing was measured')
    parser.add_argument('--count', type=int, default=512, help='number of images read')
    parser.add_argument('--seed', type=int, default=0, help='of their choice')
    return parser.parse_args()


def main() -> None:
    """Look at one image for the number of channels and the depth, then at a sample of all."""
    args = parse_args()
    source = Folder(args.folder, SENSOR_EXTENSIONS)
    pixels = load_bands(*source.load(0)).pixels
    channels = len(args.bands) if args.bands else pixels.shape[2]
    options = {'channels': channels, 'dtype': pixels.dtype.name}
    chosen = {'bands': args.bands, 'nodata': args.nodata}
    options |= {name: value for name, value in chosen.items() if value is not None}
    statistics = estimate_statistics(source, args.count, args.seed, SensorDecoder(**options))
    print('\n'.join(config_lines(statistics, options)))


def config_lines(statistics: Statistics, options: dict) -> list[str]:
    """Lines for the config of a pretraining and of the detector or segmentor that follows."""
    settings = statistics.settings
    rgb = 'low' not in settings
    lines = [f'# {statistics.images} images, {statistics.channels} channels of {statistics.dtype}']
    if not rgb:
        decoder = ', '.join(f'{name}={value!r}' for name, value in options.items())
        lines += [
            f"decoder = dict(type='SensorDecoder', {decoder})",
            'train_dataloader = dict(dataset=dict(decoder=decoder))',
        ]
    values = [f'    {name}={value},' for name, value in settings.items()]
    lines += ["data_preprocessor = dict(type='PretrainDataPreprocessor',", *values, ')']
    backbone = '' if rgb else f', backbone=dict(in_channels={statistics.channels})'
    return [*lines, f'model = dict(data_preprocessor=data_preprocessor{backbone})']


if __name__ == '__main__':
    call(main)
