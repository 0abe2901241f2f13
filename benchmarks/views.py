"""How fast two 224 px views are made from encoded photos, on one core.

    python benchmarks/views.py --photos photos.tar --images 300        # a tar or a folder of JPEGs

Contestants take turns, round by round; the figures are medians over the rounds, of images (two views
each) per second of CPU time. lightly's DenseCLTransform (``pip install lightly==1.6.*``) is the
reference of the ratios and is left out where it is not installed. densecl leaves uint8 views, which the
data preprocessor normalises on the device; the others leave normalised floats. It decodes a photo when its
crops are drawn, at 1/2, 1/4 or 1/8 where they need no more (``PretrainDataset.decode_resolution``).
"""

import argparse
import functools
import io
import statistics
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torchvision.transforms import v2

from densecl.datasets import PretrainDataset, SampleKey
from densecl.datasets.decode import Photo, decode_image, open_photo
from densecl.datasets.transforms import MultiView
from densecl.engine.one_line import call
from densecl.models.data_preprocessors import PretrainDataPreprocessor
from densecl.structures import Views

PHOTOMETRIC = {
    'brightness': 0.4,
    'contrast': 0.4,
    'saturation': 0.4,
    'hue': 0.1,
    'jitter_prob': 0.8,
    'gray_prob': 0.2,
    'blur_prob': 0.5,
    'blur_sigma': (0.1, 2.0),
}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
REFERENCE = 'lightly 1.6 DenseCLTransform'
OURS = [  # name, where the photometric part is done, and decode_resolution
    ('densecl, photometric on the device', 'device', 1.0),
    ('densecl, photometric on the CPU', 'worker', 1.0),
    ('device, decoded at full size', 'device', None),
    ('device, decode_resolution=0.75', 'device', 0.75),
    ('device, decode_resolution=0.5', 'device', 0.5),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--photos', required=True, type=Path, help='tar or folder of JPEGs')
    parser.add_argument('--images', type=int, default=300)
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--min-side', type=int, help='first enlarge the photos to this short side')
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    encoded = read(args.photos, args.images, args.min_side)
    sides = np.median([decode_image(data).shape[:2] for data in encoded], axis=0)
    print(f'{len(encoded)} photos, median {sides[0]:.0f} x {sides[1]:.0f} px, 2 views of 224 px\n')
    print('with the decoding')
    report(measure(contestants(encoded, decoded=False), args.rounds), len(encoded))
    print('\nof decoded images')
    report(measure(contestants(encoded, decoded=True), args.rounds), len(encoded))
    print('\nparts of densecl')
    parts = densecl_parts(encoded)
    if args.min_side is None and args.photos.is_file():
        parts |= dataset_parts(args.photos, len(encoded))
    report(measure(parts, args.rounds), len(encoded))


def read(path: Path, count: int, min_side: int | None) -> list[bytes]:
    """The first ``count`` JPEGs of a tar or a folder, enlarged if asked for."""
    if path.is_dir():
        encoded = [file.read_bytes() for file in sorted(path.rglob('*.jpg'))[:count]]
    else:
        with tarfile.open(path) as tar:
            names = [m for m in tar.getmembers() if m.name.endswith(('.jpg', '.jpeg'))][:count]
            encoded = [tar.extractfile(member).read() for member in names]
    return encoded if min_side is None else [enlarge(data, min_side) for data in encoded]


def enlarge(data: bytes, side: int) -> bytes:
    image, stream = Image.open(io.BytesIO(data)).convert('RGB'), io.BytesIO()
    factor = side / min(image.size)
    size = [round(length * factor) for length in image.size]
    image.resize(size, Image.BICUBIC).save(stream, 'JPEG', quality=90)
    return stream.getvalue()


def contestants(encoded: list[bytes], decoded: bool) -> dict[str, Callable]:
    """Name -> a function that makes the views of all images once."""
    arrays = [decode_image(data) for data in encoded]
    pictures = [Image.fromarray(array) for array in arrays]
    planes = [torch.from_numpy(array).permute(2, 0, 1).contiguous() for array in arrays]
    found = {}
    for name, on, resolution in OURS:
        if not decoded or resolution == 1:
            images = arrays if decoded else functools.partial(photos, encoded, resolution)
            found[name] = functools.partial(make_views, multi_view(on), images)
    two = torchvision_views()
    found['torchvision v2 on tensors'] = lambda: [
        (two(image), two(image)) for image in (planes if decoded else map(decode_planes, encoded))
    ]
    lightly = lightly_transform()
    if lightly is not None:
        found[REFERENCE] = lambda: [
            lightly(image) for image in (pictures if decoded else map(decode_pil, encoded))
        ]
    return found


def photos(encoded: list[bytes], resolution: float | None) -> Iterator[Photo | np.ndarray]:
    """Of each image the header, or, without a resolution, the pixels."""
    for data in encoded:
        yield decode_image(data) if resolution is None else open_photo(data, resolution=resolution)


def make_views(transform: MultiView, images: list | Callable) -> list:
    images = images if isinstance(images, list) else images()
    return [
        transform({'image': image, 'rng': np.random.default_rng((0, 0, i)), 'index': i})
        for i, image in enumerate(images)
    ]


def multi_view(on: str) -> MultiView:
    views = [{'count': 2, 'size': 224, 'scale': (0.2, 1.0), 'photometric': PHOTOMETRIC}]
    return MultiView(views=views, photometric_on=on)


def torchvision_views() -> v2.Transform:
    return v2.Compose(
        [
            v2.RandomResizedCrop(224, scale=(0.2, 1.0), antialias=True),
            v2.RandomHorizontalFlip(),
            v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
            v2.RandomGrayscale(p=0.2),
            v2.RandomApply([v2.GaussianBlur(17, (0.1, 2.0))], p=0.5),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )


def decode_planes(data: bytes) -> torch.Tensor:
    return torch.from_numpy(decode_image(data)).permute(2, 0, 1).contiguous()


def decode_pil(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert('RGB')


def lightly_transform() -> Callable | None:
    try:
        from lightly.transforms import DenseCLTransform
    except ImportError as error:
        print(f'lightly left out: {error}')
        return None
    return DenseCLTransform(input_size=224)


def densecl_parts(encoded: list[bytes]) -> dict[str, Callable]:
    """Decoding, generators, views, collation, and the preprocessor on this CPU."""
    arrays = [decode_image(data) for data in encoded]
    transform, rng = multi_view('device'), np.random.default_rng(0)
    samples = [transform({'image': array, 'rng': rng}) for array in arrays]
    batches = [Views.collate(samples[i : i + 32]) for i in range(0, len(samples), 32)]
    preprocessor = PretrainDataPreprocessor()
    return {
        'decode': lambda: [decode_image(data) for data in encoded],
        'generator of a sample': lambda: [np.random.default_rng((0, 0, i)) for i in range(len(arrays))],
        'MultiView': lambda: [transform({'image': array, 'rng': rng}) for array in arrays],
        'collate, batches of 32': lambda: [
            Views.collate(samples[i : i + 32]) for i in range(0, len(samples), 32)
        ],
        'preprocessor on this CPU': lambda: [preprocessor({'inputs': views}) for views in batches],
    }


def dataset_parts(path: Path, count: int) -> dict[str, Callable]:
    """Everything a worker does: read the shard, decode, views, collate."""
    views = multi_view('device')
    dataset = PretrainDataset(path, source={'type': 'TarShards'}, pipeline=[views])

    def run() -> None:
        for start in range(0, count, 32):
            keys = [SampleKey(0, i) for i in range(start, min(start + 32, count))]
            Views.collate([dataset[key] for key in keys])

    return {'PretrainDataset + collate': run}


def measure(functions: dict[str, Callable], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of every function, in alternating rounds; the first round only warms up."""
    seconds = {name: [] for name in functions}
    for number in range(rounds + 1):
        for name, function in functions.items():
            start = time.process_time()
            function()
            if number:
                seconds[name].append(time.process_time() - start)
    return seconds


def report(seconds: dict[str, list[float]], count: int) -> None:
    reference = seconds.get(REFERENCE)
    for name, times in seconds.items():
        middle = statistics.median(times)
        line = f'  {name:36s} {count / middle:8.0f} img/s {1e3 * middle / count:8.3f} ms/img'
        if reference:
            ratios = [theirs / ours for theirs, ours in zip(reference, times, strict=True)]
            spread = f'{min(ratios):.1f}..{max(ratios):.1f}'
            line += f'   {statistics.median(ratios):6.1f} x lightly ({spread})'
        print(line)


if __name__ == '__main__':
    call(main)
