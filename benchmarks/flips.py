"""What becomes of a checkpoint if a bit is changed, or the end cut off? At every byte of a small one.

python benchmarks/flips.py
"""

import random
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from densecl.compat import load_checkpoint


def altered(raw: bytes, every: int) -> Iterator[bytes]:
    """The content with one bit changed, and cut off there; at each ``every``-th byte."""
    chance = random.Random(0)
    for place in range(0, len(raw), every):
        flipped = bytearray(raw)
        flipped[place] ^= 1 << chance.randrange(8)
        yield bytes(flipped)
        yield raw[:place]


def count(load: Callable[[Path], dict], folder: Path, every: int = 1) -> Counter:
    """How often a reader refuses an altered file, reads what was written, or reads something else."""
    file, found = folder / 'checkpoint.pth', Counter()
    content = {'state_dict': {'a': torch.arange(700.0), 'b': torch.zeros(4, 4)}, 'meta': {'iter': 5}}
    torch.save(content, file)
    for other in altered(file.read_bytes(), every):
        file.write_bytes(other)
        try:
            read = load(file)
        except Exception:
            found['refused'] += 1
        else:
            found['read as written' if _same(read, content) else 'read as something else'] += 1
    return found


def _same(read: dict, content: dict) -> bool:
    try:
        return read['meta'] == content['meta'] and all(
            read['state_dict'][name].shape == x.shape and torch.equal(read['state_dict'][name], x)
            for name, x in content['state_dict'].items()
        )
    except Exception:
        return False


def main() -> None:
    """Count for both readers."""
    warnings.simplefilter('ignore')
    with tempfile.TemporaryDirectory() as folder:
        for name, load in {
            'torch.load': lambda path: torch.load(path, weights_only=True),
            'load_checkpoint': load_checkpoint,
        }.items():
            found = count(load, Path(folder))
            print(f'{name}: {sum(found.values())} files, ' + ', '.join(f'{v} {k}' for k, v in found.items()))


if __name__ == '__main__':
    main()
