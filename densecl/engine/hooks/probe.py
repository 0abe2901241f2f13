"""Probes of the frozen features while they are learnt."""

from collections.abc import Sequence

from mmengine.hooks import Hook

from densecl.distributed import rank
from densecl.engine.exported import frozen_encoder, run_meta
from densecl.registry import HOOKS


@HOOKS.register_module()
class ProbeHook(Hook):
    """Asks the frozen backbone what people have labelled: before training and every some epochs.

    In eval mode, of the branch that is exported; nothing of the run changes, and no random state is touched.
    The figures are logged as ``probe/linear_miou`` and so on. Process 0 measures, the others wait for it.

    Args:
        labelled: a labelled set, see :func:`densecl.evaluation.labelled.open_labelled`.
        test: another such path to score on; ``labelled`` is then all training part.
        interval: epochs between two measurements; the last epoch is always one.
        count: at most so many images of either part, evenly spread.
        size: height and width in pixels that images are scaled to; by default the usual ones of the set.
        probes: some of :data:`densecl.evaluation.probes.PROBES`.
        clusters: numbers of clusters, of the probe ``clusters``.
        level: of the backbone.

    Raises:
        ValueError: ``interval`` is below 1, a probe is not known, or needs boxes where the set has none.
    """

    # As the guard: after weights are loaded, before checkpoints are written.
    priority = 'LOW'

    def __init__(
        self,
        labelled: str,
        test: str | None = None,
        interval: int = 1,
        count: int = 256,
        size: Sequence[int] | None = None,
        probes: Sequence[str] = ('linear', 'retrieval'),
        clusters: Sequence[int] = (),
        level: int = -1,
    ) -> None:
        if interval < 1:
            raise ValueError(f'ProbeHook: interval must be 1 epoch or more, got {interval}')
        self.labelled, self.test, self.interval, self.count = labelled, test, interval, count
        self.size, self.probes, self.clusters, self.level = size, tuple(probes), tuple(clusters), level

    def before_train(self, runner) -> None:
        """Open the labelled set; measure where the run begins."""
        if rank() != 0:
            return
        from densecl.evaluation.labelled import open_labelled
        from densecl.evaluation.probes import check_probes

        decoder = getattr(runner.train_dataloader.dataset, 'decoder', None)
        self.images = open_labelled(self.labelled, self.test, decoder).at_most(self.count)
        check_probes(self.probes, self.images)
        self.size = tuple(self.size or self.images.use_size())
        self.meta = run_meta(runner)
        if runner.iter == 0:
            self._measure(runner, 'start')

    def after_train_epoch(self, runner) -> None:
        """Measure where the interval ends."""
        done = runner.epoch + 1
        if rank() == 0 and (done % self.interval == 0 or done == runner.max_epochs):
            self._measure(runner, f'epoch {done}')

    def _measure(self, runner, name: str) -> None:
        from densecl.evaluation.probes import probe

        encoder = frozen_encoder(runner, self.meta)
        options = dict(level=self.level, probes=self.probes, clusters=self.clusters)
        found = probe(encoder, self.images, self.size, **options)
        figures = found.figures()
        scalars = {f'probe/{key}': value for key, value in figures.items()}
        runner.message_hub.update_scalars(scalars)
        runner.visualizer.add_scalars(scalars, step=runner.iter)
        said = ', '.join(f'{key} {value:.1f}' for key, value in figures.items())
        runner.logger.info(f'probe, {name}: {said} ({sum(found.seconds.values()):.0f} s)')
