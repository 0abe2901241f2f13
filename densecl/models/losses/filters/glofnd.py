"""A learned threshold for every image: more similar candidates are false negatives."""

from densecl.models.memory import PerImage
from densecl.registry import MODELS
from densecl.schedule import Clock

from .base import Filter


@MODELS.register_module()
class GloFND(Filter):
    """Candidates above the image's own, learned threshold are false negatives (GloFND, Balmaseda et al.,
    2025).

    The threshold of image i starts at 1 and stays in [-1, 1]. Adam moves it with the gradient
    ``g_i = share - mean over its negatives of 1[s > threshold_i]``. As in the official code, Adam's bias
    correction counts epochs (from 1), not updates. The official recipe also uses
    ``dict(type='MovingAverage', ...)``.

    Args:
        images: number of images of the data set; None: ``DataSizeHook`` sets it.
        share: alpha, the share of the negatives that are false.
        lr: learning rate of the thresholds; 0.05 in the official recipe.
        start: epoch (from 0) in which learning and elimination start: 70 of 200 in the recipe.
        betas, eps: of Adam.
        treatment: see :class:`.Filter`.
    """

    def __init__(
        self,
        images: int | None = None,
        share: float = 0.01,
        lr: float = 0.05,
        start: float = 70,
        betas: tuple[float, float] = (0.9, 0.98),
        eps: float = 1e-8,
        treatment: str = 'elimination',
    ) -> None:
        super().__init__(treatment)
        if not 0 < share < 1 or lr <= 0:
            raise ValueError(f'GloFND: share must lie in (0, 1) and lr above 0, got {share} and {lr}')
        self.share, self.lr, self.start = share, lr, start
        self.betas, self.eps = tuple(betas), eps
        self.state = PerImage(images, 'GloFND', threshold=1.0, first_moment=0.0, second_moment=0.0)
        self.clock: Clock | None = None

    @property
    def epoch(self) -> int:
        """Number of epochs so far; 0 without a clock."""
        clock = self.clock
        return 0 if clock is None else int(clock.step / clock.steps(1, 'epoch', 'GloFND') + 1e-9)

    def rule(self, scores):
        """See :class:`.Filter`. In training it collects each row's share of candidates above its limit."""
        if self.epoch < self.start:
            return None
        batch = scores.comparison.batch
        thresholds = scores.of_rows(self.state.read(batch, 'threshold'))[:, None]
        if self.training:
            below = scores.candidates.where(lambda _, cosines: cosines <= thresholds)
            count = scores.candidates.count(scores.query)
            counted = scores.comparison.match.found().flatten() & (count > 0)
            self.state.collect(batch, counted, 1 - below.count(scores.query) / count)
        return lambda _, cosines: cosines > thresholds

    def learn(self, keys, batch):
        """One step of Adam on the thresholds of the step's images."""
        if (closed := self.state.close()) is None:
            return
        images, share = closed
        gradient = self.share - share
        (b1, b2), steps = self.betas, self.epoch + 1
        names = ('threshold', 'first_moment', 'second_moment')
        threshold, first, second = (getattr(self.state, name)[images].double() for name in names)
        first, second = b1 * first + (1 - b1) * gradient, b2 * second + (1 - b2) * gradient**2
        change = self.lr * first / (1 - b1**steps) / ((second / (1 - b2**steps)).sqrt() + self.eps)
        threshold = (threshold - change).clamp(-1, 1)
        self.state.write(images, threshold=threshold, first_moment=first, second_moment=second)
