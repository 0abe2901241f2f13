"""Does a run that is killed again and again end as one that is not? SIGKILL at chosen and random moments.

python benchmarks/kill.py --kills 200 --out kills.csv

Of each recipe of tiny.py a run is made without interruption, and others that are killed several times and
go on with ``--resume auto``. Each process is a fork of this one, which has everything imported. Compared are
all steps that were made, also those made twice (images in their order, pixels, loss, rate, random state), and
of the last checkpoint weights, queue, target, optimiser, schedules and logged losses: bit for bit.
"""

import argparse
import csv
import hashlib
import itertools
import json
import os
import pathlib
import random
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch
from mmengine.hooks import Hook
from tiny import RECIPES, make_photos, tiny_config

import densecl.registry  # noqa: F401
from densecl.compat import load_checkpoint
from densecl.engine import launch
from densecl.engine.hooks import PretrainCheckpointHook
from densecl.engine.one_line import call
from densecl.evaluation.measuring import Measuring
from densecl.files import checkpoints_of
from densecl.models.pretrainers.base import Pretrainer

IMAGES, BATCH, EPOCHS = 12, 4, 4
STEPS = IMAGES // BATCH * EPOCHS


class Record(Hook):
    """Appends a line for each step: what it saw and what came of it; before its checkpoint is written."""

    priority = 'ABOVE_NORMAL'

    def __init__(self, file: Path) -> None:
        self.file = file

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        views = data_batch['inputs']
        line = dict(
            step=runner.iter + 1,
            images=views.indices.tolist(),
            pixels=_hash([image.numpy().tobytes() for image in views.images]),
            loss={k: v.item().hex() for k, v in outputs.items() if k.startswith('loss')},
            rates=[group['lr'] for group in runner.optim_wrapper.optimizer.param_groups],
            random=_hash([torch.get_rng_state().numpy().tobytes()]),
        )
        with self.file.open('a') as file:
            file.write(json.dumps(line) + '\n')


def _hash(parts: list[bytes]) -> str:
    return hashlib.sha256(b''.join(parts)).hexdigest()[:16]


def config(name: str, photos: Path, work: Path, workers: int):
    """A run of 12 steps with checkpoints every second one, of which two are kept, and a guard."""
    cfg = tiny_config(name, photos, work, EPOCHS, BATCH, workers)
    cfg.log_level = 'WARNING'
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=2, max_keep_ckpts=2)
    cfg.default_hooks.logger.interval = 1
    cfg.custom_hooks = [*cfg.get('custom_hooks', []), dict(type='densecl.GuardHook', count=8, every=0.25)]
    cfg.custom_hooks[-1].update(cost=None, averages=(0.5,))
    return cfg


def train(name: str, photos: Path, work: Path, workers: int) -> None:
    """What ``tools/train.py --resume auto`` does."""
    cfg = config(name, photos, work, workers)
    launch.use_resume(cfg, 'auto')
    launch.save_on_signal(cfg)
    runner = launch.build_runner(cfg)
    runner.register_hook(Record(work / 'steps.jsonl'))
    runner.train()


#: Draws what happens in a child; the global generators are the training's.
CHANCE = random.Random()

# Moments: a function of a child that makes it kill itself there, the n-th time that it comes along.


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def _soon(seconds: float) -> None:
    """Die within so many seconds, wherever this process then is."""
    threading.Thread(target=lambda: (time.sleep(CHANCE.uniform(0, seconds)), _die()), daemon=True).start()


def _at(owner, name: str, nth: int, act: Callable) -> None:
    """In the ``nth`` call of ``owner.name``, ``act(original, *arguments)`` in its place."""
    original, calls = getattr(owner, name), Counter()

    def called(*args, **kwargs):
        calls[name] += 1
        return (act if calls[name] == nth else lambda f, *a, **k: f(*a, **k))(original, *args, **kwargs)

    setattr(owner, name, called)


def _during(original, *args, **kwargs):
    _soon(0.02)
    return original(*args, **kwargs)


def _before(original, *args, **kwargs):
    _die()


def _after(original, *args, **kwargs):
    original(*args, **kwargs)
    _die()


def _part_written(original, path, content):
    with open(path, 'wb') as file:
        file.write(content[: CHANCE.randrange(len(content) + 1)])
        file.flush()
        _die()


def in_step(nth: int) -> None:
    _at(Pretrainer, 'loss', nth, _during)


def in_write(nth: int) -> None:
    _at(pathlib.Path, 'write_bytes', nth, _part_written)


def in_rename(nth: int) -> None:
    _at(os, 'replace', nth, CHANCE.choice([_before, _after]))


def in_rotation(nth: int) -> None:
    _at(PretrainCheckpointHook, '_remove', nth, CHANCE.choice([_before, _after, _between]))


def _between(original, hook, paths):
    original(hook, paths[: len(paths) // 2])
    _die()


def in_meter(nth: int) -> None:
    _at(Measuring, 'measure', nth, _during)


def anywhere(nth: int) -> None:
    """At any time of the process, its start and its end among them."""
    _soon(0.25 * nth)


#: Moment -> how to die there, how often it comes along in a whole run.
MOMENTS = {
    'step': (in_step, STEPS),
    'write': (in_write, STEPS),
    'rename': (in_rename, STEPS),
    'rotation': (in_rotation, STEPS // 2),
    'meter': (in_meter, 4),
    'anywhere': (anywhere, 6),
}


def in_child(act: Callable[[], None], log: Path) -> int:
    """Run it in a fork; how that ended, as ``os.waitstatus_to_exitcode`` says it."""
    child = os.fork()
    if not child:
        code = 1
        try:
            os.setsid()
            out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(out, 1), os.dup2(out, 2)
            act()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed_run(
    name: str, photos: Path, work: Path, deaths: list[tuple[str, int]], workers: int
) -> list[dict]:
    """A run that is killed at some moments, each the n-th of a process, then ends; a line for each kill."""
    work.mkdir()
    lines = []
    for moment, nth in deaths:
        seed = random.random()

        def die_there(moment=moment, nth=nth, seed=seed):
            CHANCE.seed(seed)
            MOMENTS[moment][0](nth)
            train(name, photos, work, workers)

        code = in_child(die_there, work / 'said')
        if code == 0:  # it was over before the moment came
            break
        if code != -signal.SIGKILL:
            raise SystemExit(f'{name}: exit code {code}, see {work / "said"}')
        found = checkpoints_of(work)
        at = load_checkpoint(found[0])['meta']['iter'] if found else 0
        lines.append(dict(recipe=name, moment=moment, workers=workers, goes_on_at=at))
    code = in_child(lambda: train(name, photos, work, workers), work / 'said')
    if code:
        raise SystemExit(f'{name}: exit code {code}, see {work / "said"}')
    return lines


def draw(most: int) -> list[tuple[str, int]]:
    """Two to six moments; early ones in a process, for it has to live long enough."""
    moments = random.choices(list(MOMENTS), k=min(random.randint(2, 6), most))
    return [(moment, random.randint(1, max(1, MOMENTS[moment][1] // 3))) for moment in moments]


def differences(work: Path, other: Path) -> list[str]:
    """Where a run is not the other one."""
    expected = {line['step']: line for line in _steps(other)}
    found = [f'step {line["step"]}' for line in _steps(work) if line != expected[line['step']]]
    if {line['step'] for line in _steps(work)} != set(expected):
        found.append('steps')
    a, b = (load_checkpoint(folder / f'iter_{STEPS}.pth') for folder in (work, other))
    for part in ('state_dict', 'optimizer', 'param_schedulers'):
        found += _unlike(a[part], b[part], part)
    logs = [
        {k: v.data[0].tolist() for k, v in c['message_hub']['log_scalars'].items() if 'time' not in k}
        for c in (a, b)
    ]
    found += _unlike(*logs, 'log')
    left = {p.name for p in work.iterdir() if p.suffix in ('.pth', '.tmp')}
    if left != {p.name for p in other.iterdir() if p.suffix in ('.pth', '.tmp')}:
        found.append(f'files: {sorted(left)}')
    return found


def _steps(work: Path) -> list[dict]:
    lines = (work / 'steps.jsonl').read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith('}\n')]


def _unlike(a, b, where: str) -> list[str]:
    if torch.is_tensor(a) and torch.is_tensor(b):
        return [] if torch.equal(a, b) else [where]
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        return [name for key in a for name in _unlike(a[key], b[key], f'{where}.{key}')]
    if isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        return [n for i, (x, y) in enumerate(zip(a, b, strict=True)) for n in _unlike(x, y, f'{where}[{i}]')]
    return [] if a == b or (a != a and b != b) else [where]


def whole_run(name: str, photos: Path, work: Path) -> Path:
    """The folder of a run without interruption."""
    work.mkdir()
    code = in_child(lambda: train(name, photos, work, 0), work / 'said')
    if code:
        raise SystemExit(f'{name}: exit code {code}, see {work / "said"}')
    return work


def kill(names: list[str], kills: int, work: Path, show=print) -> list[dict]:
    """Kill runs of some recipes in turn until there were so many kills; a line for each."""
    photos, lines, whole = make_photos(work / 'photos', IMAGES), [], {}
    for turn, name in enumerate(itertools.cycle(names)):
        if len(lines) >= kills:
            return lines
        if name not in whole:
            whole[name] = whole_run(name, photos, work / name)
        run, workers = work / f'{name}_{turn}', random.choice([0, 0, 1])
        new = killed_run(name, photos, run, draw(kills - len(lines)), workers)
        unlike = differences(run, whole[name])
        lines += [dict(line, same=not unlike) for line in new]
        moments = ' '.join(line['moment'] for line in new)
        show(f'{len(lines):4} {name:<13} {"same" if not unlike else unlike[:5]}: {moments}')


def main() -> None:
    """Kill, write the table, count."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--kills', type=int, default=200)
    parser.add_argument('--recipes', nargs='+', default=list(RECIPES), choices=list(RECIPES))
    parser.add_argument('--seed', type=int, default=0, help='of the moments')
    parser.add_argument('--work', type=Path, help='keep the runs here')
    parser.add_argument('--out', type=Path, required=True, help='csv file')
    args = parser.parse_args()
    random.seed(args.seed)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as work:
        if args.work:
            args.work.mkdir(parents=True)
        lines = kill(args.recipes, args.kills, args.work or Path(work))
    with args.out.open('w', newline='') as file:
        writer = csv.DictWriter(file, lines[0])
        writer.writeheader()
        writer.writerows(lines)
    same = sum(line['same'] for line in lines)
    print(f'{len(lines)} kills, {same} of them in runs that ended as the uninterrupted one')
    print(', '.join(f'{moment} {count}' for moment, count in Counter(x['moment'] for x in lines).items()))
    sys.exit(same != len(lines))


if __name__ == '__main__':
    call(main)
