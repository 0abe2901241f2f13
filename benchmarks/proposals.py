"""Quality and speed of selective search, beside OpenCV contrib's implementation, as a markdown table.

    python benchmarks/proposals.py --contrib contrib-env/bin/python
    python benchmarks/proposals.py --contrib contrib-env/bin/python \\
        --images coco/val2017 --annotations instances_val2017.json

Photos and ground truth are those of the bundled sample unless named. ``--contrib`` is the interpreter of
an environment with opencv-contrib-python-headless, which need not hold densecl; without it, the running
one is asked, and without ``cv2.ximgproc`` there the comparison is left out. Each implementation runs in
a process of its own, both on the same core, taking turns image by image; times are of CPU.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np

SAMPLE = Path(__file__).resolve().parents[1] / 'densecl/sample/detection'
SIDES = 224, 375
PROJECTIONS = {'COCO train2017': 118_287, 'ImageNet-1k': 1_281_167}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--contrib', default=sys.executable, metavar='PYTHON')
    parser.add_argument('--images', type=Path, default=SAMPLE / 'val')
    parser.add_argument('--annotations', type=Path, default=SAMPLE / 'annotations/instances_val.json')
    parser.add_argument('--strategy', default='fast', choices=['single', 'fast', 'quality'])
    parser.add_argument('--limit', type=int, help='only the first images')
    parser.add_argument('--speed-images', type=int, default=10)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--serve', choices=['densecl', 'opencv'], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve)
        return
    photos = ground_truth(args.images, args.annotations)[: args.limit]
    core = max(os.sched_getaffinity(0))
    workers = {'densecl': Worker(sys.executable, 'densecl', core)}
    if has_contrib(args.contrib):
        workers['opencv'] = Worker(args.contrib, 'opencv', core)
    print(f'Strategy {args.strategy}, {len(photos)} photos of {args.images}\n')
    quality(workers, photos, args.strategy)
    speed(workers, photos[: args.speed_images], args.strategy, args.rounds)
    for worker in workers.values():
        worker.close()
    scaling(photos[: args.speed_images], args.strategy)


def ground_truth(images: Path, annotations: Path) -> list[tuple[str, np.ndarray]]:
    """Photos that have objects (crowds left out), with their boxes (G, 4) xyxy."""
    content = json.loads(annotations.read_text())
    boxes = {image['id']: [] for image in content['images']}
    for annotation in content['annotations']:
        x, y, width, height = annotation['bbox']
        if not annotation.get('iscrowd') and width > 0 and height > 0:
            boxes[annotation['image_id']].append([x, y, x + width, y + height])
    return [
        (str(images / image['file_name']), np.array(boxes[image['id']]))
        for image in content['images']
        if boxes[image['id']]
    ]


def has_contrib(python: str) -> bool:
    """Whether that interpreter's OpenCV has selective search."""
    check = [python, '-c', 'import cv2; cv2.ximgproc.segmentation']
    return subprocess.run(check, capture_output=True).returncode == 0


class Worker:
    """One implementation in a process of its own on one core; asks and answers are lines of JSON."""

    def __init__(self, python: str, name: str, core: int) -> None:
        environment = dict(os.environ, OMP_NUM_THREADS='1')
        self.process = subprocess.Popen(
            [python, __file__, '--serve', name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        os.sched_setaffinity(self.process.pid, {core})

    def send(self, path: str, strategy: str, short_side: int | None = None) -> None:
        """Ask for the boxes of a photo, resized to a short side or as it is."""
        print(json.dumps([path, strategy, short_side]), file=self.process.stdin, flush=True)

    def receive(self) -> dict:
        """The next answer: boxes, seconds of CPU, peak memory in MiB."""
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f'{self.process.args}: ended, see its message above')
        return json.loads(line)

    def ask(self, *request) -> dict:
        """Send and receive."""
        self.send(*request)
        return self.receive()

    def close(self) -> None:
        """End the process."""
        self.process.stdin.close()
        self.process.wait()


def serve(name: str) -> None:
    """Answer requests until the input ends."""
    cv2.setNumThreads(1)
    search = load_densecl() if name == 'densecl' else search_opencv
    at_start = peak_memory()
    for line in sys.stdin:
        path, strategy, short_side = json.loads(line)
        image = cv2.imread(path)
        if short_side is not None:
            factor = short_side / min(image.shape[:2])
            image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        start = time.process_time()
        boxes = search(image, strategy)
        seconds = time.process_time() - start
        answer = dict(boxes=boxes.tolist(), seconds=seconds, memory=peak_memory() - at_start)
        print(json.dumps(answer), flush=True)


def load_densecl():
    """Our search of a BGR image, compiled."""
    from densecl.proposals.selective_search import selective_search

    selective_search(np.zeros((32, 32, 3), np.uint8), 'single')
    return lambda image, strategy: selective_search(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), strategy)


def search_opencv(image: np.ndarray, strategy: str) -> np.ndarray:
    """OpenCV contrib's search of a BGR image."""
    search = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    search.setBaseImage(image)
    switches = {
        'single': search.switchToSingleStrategy,
        'fast': search.switchToSelectiveSearchFast,
        'quality': search.switchToSelectiveSearchQuality,
    }
    switches[strategy]()
    boxes = search.process().astype(np.float32)
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def peak_memory() -> float:
    """MiB of this process at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def quality(workers: dict[str, Worker], photos: list, strategy: str) -> None:
    """Print recall and mean best overlap with all boxes, and with the same number of boxes an image."""
    found = {name: [] for name in workers}
    for path, _ in photos:
        for name, worker in workers.items():
            found[name].append(np.array(worker.ask(path, strategy)['boxes']))
    fewest = [min(map(len, boxes)) for boxes in zip(*found.values(), strict=True)]
    print('| boxes of | boxes an image | recall at 0.5 | recall at 0.7 | mean best overlap |')
    print('|---|---|---|---|---|')
    for name, boxes in found.items():
        print_quality(f'{name}, all', boxes, photos)
    if len(found) > 1:
        for name, boxes in found.items():
            cut = [b[:count] for b, count in zip(boxes, fewest, strict=True)]
            print_quality(f'{name}, same number', cut, photos)
    for count in (100, 300):
        for name, boxes in found.items():
            print_quality(f'{name}, first {count}', [b[:count] for b in boxes], photos)


def print_quality(name: str, boxes: list[np.ndarray], photos: list) -> None:
    """One row of the table."""
    pairs = zip(boxes, photos, strict=True)
    best = np.concatenate([overlaps(b, truth).max(0) for b, (_, truth) in pairs])
    shares = [100 * x for x in ((best >= 0.5).mean(), (best >= 0.7).mean(), best.mean())]
    mean = np.mean([len(b) for b in boxes])
    print(f'| {name} | {mean:.0f} | ' + ' | '.join(f'{x:.1f}' for x in shares) + ' |')


def overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union, (P, G)."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(2)
    areas, other_areas = ((b[:, 2:] - b[:, :2]).prod(1) for b in (boxes, others))
    return shared / (areas[:, None] + other_areas[None] - shared)


def speed(workers: dict[str, Worker], photos: list, strategy: str, rounds: int) -> None:
    """Print milliseconds an image on one core, peak memory, and what data sets would take."""
    print(f'\nOne core, {len(photos)} photos, the median of {rounds} rounds, then of the photos\n')
    print('| of | short side | ms an image | times faster | MiB above its imports |')
    print('|---|---|---|---|---|')
    hours = []
    for side in SIDES:
        seconds = {name: np.zeros((rounds, len(photos))) for name in workers}
        memory = {}
        for turn in range(rounds):
            for column, (path, _) in enumerate(photos):
                for name, worker in workers.items():
                    answer = worker.ask(path, strategy, side)
                    seconds[name][turn, column] = answer['seconds']
                    memory[name] = answer['memory']
        middle = {name: np.median(times, axis=0) for name, times in seconds.items()}
        for name, times in middle.items():
            ratio = np.median(middle.get('opencv', times) / times)
            print(
                f'| {name} | {side} | {1000 * np.median(times):.0f} | {ratio:.1f} '
                f'| {memory[name]:.0f} |'
            )
            hours.append((name, side, times.mean() / 3600))
    print('\nHours of one core\n')
    print('| of | short side | ' + ' | '.join(PROJECTIONS) + ' |')
    print('|---|---|' + '---|' * len(PROJECTIONS))
    for name, side, each in hours:
        cells = ' | '.join(f'{each * count:.0f}' for count in PROJECTIONS.values())
        print(f'| {name} | {side} | {cells} |')


def scaling(photos: list, strategy: str) -> None:
    """Print images a second of densecl with one process a core."""
    cores = sorted(os.sched_getaffinity(0))
    print(f'\nProcesses, one a core, {SIDES[-1]} px, by the clock\n')
    print('| processes | images a second |')
    print('|---|---|')
    for count in range(1, len(cores) + 1):
        workers = [Worker(sys.executable, 'densecl', core) for core in cores[-count:]]
        for worker in workers:
            worker.ask(photos[0][0], strategy, SIDES[-1])
        start = time.perf_counter()
        for path, _ in photos:
            for worker in workers:
                worker.send(path, strategy, SIDES[-1])
            for worker in workers:
                worker.receive()
        print(f'| {count} | {len(photos) * count / (time.perf_counter() - start):.1f} |')
        for worker in workers:
            worker.close()


if __name__ == '__main__':
    main()
