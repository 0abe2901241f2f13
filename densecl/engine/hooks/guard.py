"""Compares the backbone with its start during training, and keeps the best one."""

import json
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.hooks import Hook
from torch import Tensor

from densecl.distributed import rank
from densecl.engine.exported import (
    exported_branch,
    frozen_encoder,
    plain_tensors,
    read_backbone,
    run_meta,
    save_backbone,
)
from densecl.files import write_json
from densecl.registry import HOOKS

_START = 'start.pth'


@HOOKS.register_module()
class GuardHook(Hook):
    """Measures dense quality before training, after every tenth of it, and at its end.

    It measures the branch that is exported, in eval mode, on photos without augmentation, at the size of use.
    Without labels it computes label-free signals (:class:`densecl.evaluation.signals.Signals`). With labels a
    linear and a retrieval probe are added, and they decide (:func:`densecl.evaluation.guard.decide`). At the
    end it also measures weight averages of start and end.

    Process 0 writes into the run's folder: ``guard.json``, all measurements and the decision;
    ``best_dense.pth``, the backbone to use; ``start.pth``, the backbone at the start. The hook does not
    change training: it touches no random state. A resumed run has the measurements of its checkpoint.

    Args:
        photos: what to measure on: a folder, or a list of files; by default the run's own photos.
        count: number of photos; also the largest number of labelled images to learn from, and to score on.
        size: height and width of use; by default the usual ones with a short side of at most 240.
        labelled: a labelled set, see :func:`densecl.evaluation.labelled.open_labelled`.
        every: share of the run between two measurements.
        averages: weights of the end in the averages with the start.
        cost: largest share of the training's time for all measurements. Measurements that do not fit are
            skipped, except start, end and the first average; the log says how many. None skips nothing.
        batch_size: number of images that are encoded together.

    Raises:
        ValueError: ``every`` is not in (0, 1], or an average is not within (0, 1).
    """

    # After weights are loaded, and before checkpoints are written, so that they have the measurement.
    priority = 'LOW'

    def __init__(
        self,
        photos: str | Sequence[str] | None = None,
        count: int = 64,
        size: Sequence[int] | None = None,
        labelled: str | None = None,
        every: float = 0.1,
        averages: Sequence[float] = (0.25, 0.5, 0.75),
        cost: float | None = 0.03,
        batch_size: int = 16,
    ) -> None:
        if not 0 < every <= 1:
            raise ValueError(f'GuardHook: every must be a share of the run in (0, 1], got {every}')
        if not all(0 < alpha < 1 for alpha in averages):
            raise ValueError(f'GuardHook: averages must be weights within (0, 1), got {averages}')
        self.averages, self.cost = tuple(sorted(averages, reverse=True)), cost
        self.photos, self.count, self.size = photos, count, tuple(size) if size else None
        self.labelled, self.every, self.batch_size = labelled, every, batch_size
        self.rows: list[dict] = []
        self._left_out = 0

    def before_train(self, runner) -> None:
        """Measure the start; a resumed run takes this measurement from its checkpoint."""
        if rank() != 0:
            return
        from densecl.evaluation.guard import Measurement
        from densecl.evaluation.measuring import Measuring

        dataset = runner.train_dataloader.dataset
        photos, decoder = self.photos or dataset, getattr(dataset, 'decoder', None)
        self.images = Measuring(
            photos, self.count, self.size, self.labelled, self.batch_size, decoder=decoder
        )
        self.meta = run_meta(runner)
        known = runner.message_hub.runtime_info.get('guard') if runner._resume else None
        self.start = self._start_tensors(runner, resumed=known is not None)
        encoder = frozen_encoder(runner, self.meta, self.start)
        self.images.set_start(encoder)
        if known is None:
            self.first, self.rows = self.images.measure(encoder), []
            self._record(runner, 'start', self.first, iter=0, alpha=0.0)
            left = (runner.max_iters - 1) // self._step(runner) + 1 + len(self.averages)
            within = '' if self.cost is None else f', within {self.cost:.0%} of the run'
            if not self.labelled and self.meta['start'] is None:
                runner.logger.warning(
                    'guard: the run goes on from no weights that are known; from random ones its meters are '
                    'not proven to order backbones (docs/meters.md): give labelled images, or keep the end'
                )
            runner.logger.info(
                f'guard: up to {left} more measurements, each of about {self.first.seconds:.0f} s{within}'
            )
        else:
            state = json.loads(known)
            self.first, self.rows = Measurement.restore(state['first']), state['rows']
        self._begun, self._from, self._before = time.perf_counter(), runner.iter, self._measured()

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Measure after each ``every`` of the run."""
        done = runner.iter + 1
        if rank() != 0 or done % self._step(runner) or done >= runner.max_iters:
            return
        always = 1 + bool(self.averages)  # the end and the first average
        if not self._affordable(runner, done, ahead=1 + always):
            return
        found = self.images.measure(frozen_encoder(runner, self.meta))
        line = self._record(runner, f'iteration {done}', found, iter=done)
        self._warn(runner, line)
        if self._best() is line:
            self._save(runner, line, plain_tensors(exported_branch(runner).backbone))

    def after_train(self, runner) -> None:
        """Measure the end and its averages with the start; save the best and log it."""
        if rank() != 0:
            return
        from densecl.evaluation.signals import interpolated

        end = plain_tensors(exported_branch(runner).backbone)
        tensors = {1.0: end, 0.0: self.start}
        tensors |= {alpha: interpolated(self.start, end, alpha) for alpha in self.averages}
        for alpha in (1.0, *self.averages):
            if alpha in self.averages[1:] and not self._affordable(runner, runner.iter, ahead=1):
                continue
            name = 'end' if alpha == 1 else f'average {1 - alpha:g} start + {alpha:g} end'
            found = self.images.measure(frozen_encoder(runner, self.meta, tensors[alpha]))
            line = self._record(runner, name, found, iter=runner.iter, alpha=alpha)
            if alpha == 1:
                self._warn(runner, line)
        best = self._best()
        if 'alpha' in best:
            self._save(runner, best, tensors[best['alpha']])  # the best of an iteration is saved already
        told = f'use {best["name"]} (best_dense.pth): {best["sentence"]}'
        if best is self.rows[0]:
            told = 'stay with your start: of what was measured nothing is better'
        self._write(runner, chosen=best['name'], told=told)
        left_out = f', {self._left_out} left out: above {self.cost:.0%} of the run' if self._left_out else ''
        spent = f'{len(self.rows)} measurements in {self._measured():.0f} s{left_out}'
        runner.logger.info(f'guard: {told} ({spent})')

    def _warn(self, runner, line: dict) -> None:
        """Warn if dense quality fell, and say since when."""
        from densecl.evaluation.guard import fallen_since

        best = fallen_since(self.rows, line)
        damaged = line['verdict'] in ('warn', 'refuse')
        if best is None and not damaged:
            return
        since = 'the start' if damaged or best['iter'] == 0 else best['name']
        if since != 'the start':
            since += f' ({best["sentence"]})'
        runner.logger.warning(
            f'dense quality has fallen since {since}; {line["name"]}: {line["sentence"]}. Lower the '
            "backbone's learning rate or shorten the run"
        )

    def _affordable(self, runner, done: int, ahead: int) -> bool:
        """Whether ``ahead`` more measurements fit into ``cost``; the run's time is extrapolated from
        the iterations so far."""
        from densecl.evaluation.guard import affordable

        if self.cost is None:
            return True
        trained = time.perf_counter() - self._begun - (self._measured() - self._before)
        training = trained / max(done - self._from, 1) * runner.max_iters
        fits = affordable(self.cost, self.first.seconds, self._measured(), ahead, training)
        self._left_out += not fits
        return fits

    def _measured(self) -> float:
        """Seconds that all measurements took so far."""
        return sum(line['seconds'] for line in self.rows)

    def _step(self, runner) -> int:
        """Iterations between two measurements."""
        return max(1, round(self.every * runner.max_iters))

    def _record(self, runner, name: str, found, **more) -> dict:
        """Write a line of the table into the checkpoint's state, ``guard.json`` and the logs."""
        from densecl.evaluation.guard import decide, row

        line = row(name, found, decide(self.first, found), **more)
        self.rows.append(line)
        state = {'first': self.first.state(), 'rows': self.rows}
        runner.message_hub.update_info('guard', json.dumps(state))
        self._write(runner)
        if more.get('alpha') in (None, 0, 1):
            scalars = {f'guard/{k}': signal.value for k, signal in found.signals.items()}
            scalars |= {f'guard/{k}_miou': value for k, value in found.scores().items()}
            runner.message_hub.update_scalars(scalars)
            runner.visualizer.add_scalars(scalars, step=more['iter'])
        runner.logger.info(f'guard, {name}: {line["sentence"]} ({line["seconds"]:.0f} s)')
        return line

    def _start_tensors(self, runner, resumed: bool) -> dict[str, Tensor]:
        """The backbone's tensors before the first step; a resumed run reads them from ``start.pth``."""
        folder = Path(runner.work_dir)
        if not resumed:
            tensors = plain_tensors(exported_branch(runner).backbone)
            # A file that has these tensors already may have more information, such as their licence.
            if not _same(read_backbone(runner, folder / _START), tensors):
                save_backbone(runner, _START, tensors, self.meta)
            return tensors
        beside = Path(runner._load_from).parent if runner._load_from else folder
        tensors = read_backbone(runner, folder / _START) or read_backbone(runner, beside / _START)
        if tensors is None:
            raise FileNotFoundError(
                f'GuardHook: the resumed run needs {folder / _START}, the backbone as it started; copy it '
                'from the folder of the run, or leave the hook out'
            )
        return tensors

    def _best(self) -> dict:
        from densecl.evaluation.guard import choose

        return choose(self.rows)

    def _write(self, runner, **more) -> None:
        from densecl.evaluation.guard import TABLE

        averages = [line for line in self.rows if line.get('alpha') in self.averages]
        measured = [line for line in self.rows if line not in averages]
        labelled = self.images.labelled
        content = dict(
            verdict=measured[-1]['verdict'], sentence=measured[-1]['sentence'], **more,
            photos=len(self.images.names), named=self.images.names, size=self.images.size,
            labelled=self.labelled, labelled_images=labelled and [len(labelled.train), len(labelled.test)],
            notes=labelled.notes if labelled else (), measurements=measured, averages=averages,
        )  # fmt: skip
        write_json(Path(runner.work_dir) / TABLE, content)

    def _save(self, runner, line: dict, tensors: dict[str, Tensor]) -> None:
        from densecl.evaluation.guard import BEST

        neck = exported_branch(runner).neck if line.get('alpha') != 0 else None
        epoch = runner.epoch if line['iter'] else 0
        meta = dict(iter=line['iter'], epoch=epoch, guard=f'{line["name"]}: {line["sentence"]}')
        save_backbone(runner, BEST, tensors, self.meta | meta, neck)


def _same(first: dict[str, Tensor] | None, second: dict[str, Tensor]) -> bool:
    return first is not None and all(torch.equal(first[name], second[name]) for name in second)
