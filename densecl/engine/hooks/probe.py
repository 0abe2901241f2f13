"""Measures frozen features with labelled images during pretraining."""

from collections.abc import Sequence

from mmengine.hooks import Hook

from densecl.distributed import rank
from densecl.engine.exported import frozen_encoder, run_meta
from densecl.registry import HOOKS


@HOOKS.register_module()
class ProbeHook(Hook):
    """Evaluates the frozen backbone with probes on labelled images, before training and every few epochs.

    It measures the branch that is exported, in eval mode. It changes nothing of the run and touches no random
    state. The figures are logged as ``probe/linear_miou`` and so on. Process 0 measures; the others wait.

    Args:
        labelled: a labelled set, see :func:`densecl.evaluation.labelled.open_labelled`.
        test: another such set to score on; all of ``labelled`` is then used for training.
        interval: epochs between two measurements; the last epoch is always measured.
        count: largest number of images of either part, evenly spread over it.
        size: height and width in pixels that images are scaled to; by default the usual ones of the set.
        probes: some of :data:`densecl.evaluation.probes.PROBES`.
        clusters: numbers of clusters for the probe ``clusters``.
        level: the backbone's level to measure.

    Raises:
        ValueError: ``interval`` is below 1, a probe is not known, or needs boxes where the set has none.
    """

    # As for GuardHook: after weights are loaded, before checkpoints are written.
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
        """Open the labelled set; measure at the start of the run."""
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
        """Measure at the end of an interval."""
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
