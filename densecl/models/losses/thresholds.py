"""A learned similarity for every image above which candidates are false negatives."""

import torch

from densecl.registry import MODELS
from densecl.schedule import Clock

from .false_negatives import FalseNegatives
from .per_image import PerImage


@MODELS.register_module()
class GloFND(FalseNegatives):
    """Candidates beyond the image's own, learned threshold (GloFND, Balmaseda et al., 2025).

    A given share of all of the image's negatives exceeds it: the threshold of image i, 1 at the start,
    descends along ``g_i = share - mean over its negatives of 1[s > threshold_i]`` with Adam and stays in
    [-1, 1]. As in the official code, Adam's bias correction counts epochs (from 1), not updates. Candidates
    with ``s <= threshold_i`` stay negatives.

    Args:
        images: number of images of the data set; ``DataSizeHook`` fills in None.
        share: alpha, of the negatives that are false.
        lr: of the thresholds; 0.05 in the official recipe.
        start: epoch (from 0) before which nothing is learned or eliminated: 70 of 200 in the recipe.
        betas: Adam's.
        eps: Adam's.
        relative: divide the gradient by ``share``.
        treatment: see :class:`FalseNegatives`.
        weighting: see :class:`FalseNegatives`; the official recipe has ``dict(type='MovingAverage', ...)``.
    """

    def __init__(
        self,
        images: int | None = None,
        share: float = 0.01,
        lr: float = 0.05,
        start: float = 70,
        betas: tuple[float, float] = (0.9, 0.98),
        eps: float = 1e-8,
        relative: bool = False,
        treatment: str = 'elimination',
        weighting: dict | None = None,
    ) -> None:
        super().__init__(treatment, weighting)
        if not 0 < share < 1 or lr <= 0:
            raise ValueError(f'GloFND: share must lie in (0, 1) and lr above 0, got {share} and {lr}')
        self.share, self.lr, self.start = share, lr, start
        self.betas, self.eps, self.relative = tuple(betas), eps, relative
        self.state = PerImage(images, 'GloFND', threshold=1.0, first_moment=0.0, second_moment=0.0)
        self.clock: Clock | None = None

    @property
    def epoch(self) -> int:
        """Epochs so far; 0 without a clock."""
        if self.clock is None:
            return 0
        return int(self.clock.step / self.clock.steps(1, 'epoch', 'GloFND') + 1e-9)

    def rule(self, similarities, samples):
        """See :class:`FalseNegatives`."""
        if self.epoch < self.start:
            return None
        thresholds = samples.of_queries(self.state.before(samples)['threshold'])[:, None]
        return lambda _, cosines: cosines > thresholds

    @torch.no_grad()
    def observe(self, similarities, samples):
        """One step of Adam on the thresholds of the batch's images."""
        rule = self.rule(similarities, samples)
        if rule is None:
            return
        candidates, query = similarities.candidates, similarities.query
        count = candidates.count(query)
        above = candidates.without(rule).count(query) / count
        (share,) = self.state.learn(samples, count > 0, above)
        gradient = (self.share - share) / (self.share if self.relative else 1)
        first, second = (
            beta * self.state.number(name) + (1 - beta) * gradient**power
            for name, beta, power in zip(
                ('first_moment', 'second_moment'), self.betas, (1, 2), strict=True
            )
        )
        steps = self.epoch + 1
        scale = (second / (1 - self.betas[1] ** steps)).sqrt() + self.eps
        step = self.lr * first / (1 - self.betas[0] ** steps) / scale
        threshold = (self.state.number('threshold') - step).clamp(-1, 1)
        self.state.write(threshold=threshold, first_moment=first, second_moment=second)
