"""Instance discrimination with a memory bank of all images."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from densecl.distributed import all_reduce, world_size
from densecl.messages import check_choice
from densecl.models.memory import MemoryBank
from densecl.numerics import unit
from densecl.registry import MODELS
from densecl.schedule import Clock
from densecl.structures import Batch, Comparison, Units

from .kernel import similarity_logsumexp
from .objective import Objective, mean_of
from .temperatures import positive_schedule


@MODELS.register_module()
class NCE(Objective):
    """Each image is its own class, whose weight is its vector m in a memory bank (NPID, Wu et al., 2018).

    ``'nce'``: ``-log(P+ / (P+ + K/n + eps)) - sum_k log((K/n) / (P_k + K/n + eps))`` with
    P = exp(m.q / t) / Z (section 3.3). The K negatives are drawn from all n vectors, also the image's own. Z
    is n times the mean exponential in the first batch, and then constant. ``'softmax'``:
    ``-log(exp(m.q / t) / sum_i exp(m_i.q / t))`` over all n (eq. 2). The proximal term of the paper (section
    3.4) is neither in the released code nor here.

    Keys are not scored: a head compares a view with itself. After the loss of a step, the bank learns the
    pooled vectors of all processes. Draws depend on the image, not on the process. A process keeps the drawn
    vectors (N, K, C) until the backward pass.

    Args:
        images: n, the number of images of the data set; None: ``DataSizeHook`` sets it.
        dim: width C of the embeddings.
        negatives: K, number of draws for each query; not used by ``'softmax'``.
        temperature: t > 0, or a schedule's config.
        momentum: of the bank, see :class:`MemoryBank`.
        form: ``'nce'`` or ``'softmax'`` (K = 0 in the official code).
        eps: in the denominators of ``'nce'``; in VISSL it is float32's epsilon.
        init: of the bank, ``'uniform'`` or ``'unit'``.
        seed: of the bank and of the draws.
    """

    needs = frozenset({'pooled', 'always'})
    sends = ('pooled',)

    def __init__(
        self,
        images: int | None = None,
        dim: int = 128,
        negatives: int = 4096,
        temperature: float | dict = 0.07,
        momentum: float = 0.5,
        form: str = 'nce',
        eps: float = 1e-7,
        init: str = 'uniform',
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_choice('NCE: form', form, ('nce', 'softmax'))
        if form == 'nce' and negatives < 1:
            raise ValueError(f"NCE: negatives must be at least 1, got {negatives}; form='softmax' needs none")
        self.temperature = positive_schedule(temperature, 'NCE: temperature')
        self.clock: Clock | None = None
        self.bank = MemoryBank(images, dim, momentum, init, seed)
        self.negatives, self.form, self.eps = negatives, form, eps
        self.register_buffer('partition', torch.zeros(()))  # Z, 0: not known yet
        self._frozen = False  # whether Z is known: reading the buffer would wait for the device
        self.register_buffer('rounds', torch.zeros((), dtype=torch.int64))  # number of sets of draws so far

    def _load_from_state_dict(self, *args, **kwargs) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self.look_at_buffers()

    def look_at_buffers(self) -> None:
        """Read from the buffer whether Z is known."""
        self._frozen = bool(self.partition > 0)

    def score(self, comparison: Comparison) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of the units with the bank, and ``pos_sim``, the mean cosine with the own vector in it."""
        units = comparison.query.compared
        images = self.bank.indices(comparison.batch)[:, None].expand(-1, units.shape[1]).flatten()
        t = self.temperature(self.clock)
        with torch.autocast(units.device.type, enabled=False):
            query = unit(units).flatten(0, 1)
            cosine = (query * self.bank.vectors[images].to(query.dtype)).sum(-1)
            if self.form == 'softmax':
                everything, _ = similarity_logsumexp(query / t, self.bank.vectors.to(query.dtype))
                terms = everything - cosine / t
            else:
                terms = self._nce(query, cosine, images, t)
        return mean_of(terms.view(units.shape[:2]), None, 'rows'), {'pos_sim': cosine.detach().mean()}

    @torch.no_grad()
    def remember(self, keys: list[Units], batch: Batch) -> None:
        """Update the bank with the pooled keys of all processes."""
        images = self.bank.indices(batch.of_all())
        for key in keys:
            self.bank.update(images, unit(key.of_all('pooled')))

    def _nce(self, query: Tensor, cosine: Tensor, images: Tensor, t: float) -> Tensor:
        drawn = self.bank.draw(images, self.negatives, self.rounds)
        if self.training:
            self.rounds += 1
        vectors = self.bank.vectors[drawn].to(query.dtype)  # (N, K, C)
        others = torch.einsum('nc,nkc->nk', query, vectors)
        logits = torch.cat([cosine[:, None], others], 1) / t
        log_p = logits - self._log_partition(logits.detach())
        noise = self.negatives / len(self.bank)
        positive = -F.logsigmoid(log_p[:, 0] - math.log(noise + self.eps))
        negative = torch.log1p((log_p[:, 1:].exp() + self.eps) / noise).sum(1)
        return positive + negative

    @torch.no_grad()
    def _log_partition(self, logits: Tensor) -> Tensor:
        """log Z; computed from these logits (N, 1 + K) if it is not known yet."""
        if not self._frozen:
            mean = all_reduce(logits.exp().mean()) / world_size()
            if not self.training:
                return (len(self.bank) * mean).log()
            self.partition.copy_(len(self.bank) * mean)
            self._frozen = True
        return self.partition.to(logits.dtype).log()
