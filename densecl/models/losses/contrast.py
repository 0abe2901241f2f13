"""A stand-in for InfoNCE until the branch `contrast` is merged: its file wins."""

import torch
from torch import nn

from densecl.distributed import all_gather, gather
from densecl.models.memory import Queue
from densecl.numerics import unit
from densecl.registry import MODELS

from .candidates import Candidates
from .objective import Objective
from .parts import Filter, Mass, Scores, Temperature


class InfoNCE(Objective):
    def __init__(
        self, temperature=0.2, queue=65536, dim=128, batch=None, negatives=(), decoupled=False,
        times_temperature=False,
    ):  # fmt: skip
        super().__init__()
        typed = isinstance(temperature, dict) and 'type' in temperature
        self.temperature = MODELS.build(temperature) if typed else Temperature(temperature)
        self.queue = Queue(queue, dim) if queue else None
        self.batch, self.decoupled, self.times_temperature = batch, decoupled, times_temperature
        parts = [MODELS.build(x) for x in ([negatives] if isinstance(negatives, dict) else negatives)]
        self.filters = nn.ModuleList(x for x in parts if isinstance(x, Filter))
        (self.mass,) = [x for x in parts if not isinstance(x, Filter)] or [Mass()]

    def candidates(self, c, own):
        pools = [unit(c.key.pooled)]
        if self.batch == 'views':
            q = c.query
            pools.append(unit(q.pooled if q.pooled_predicted is None else q.pooled_predicted))

        def of_all(x):
            return all_gather(x.repeat(len(pools)))

        queued = None
        if self.queue is not None:
            queued = Candidates(
                self.queue.keys.to(pools[0].dtype), indices=self.queue.images.clone(), passing=True
            )
        if self.batch is None:
            return queued
        indices = None if c.batch.indices is None else of_all(c.batch.indices)
        batch = Candidates(gather(torch.cat(pools)), of_all(c.batch.numbers), own, indices)
        return batch if queued is None else queued.joined(batch)

    def score(self, c):
        query = unit(c.query.compared).flatten(0, 1)
        n = len(query) // len(c.batch.numbers)
        cosine = (query * c.match.sum_of(unit(c.key.vectors)).flatten(0, 1)).sum(1)
        t = self.temperature(cosine, c, None)
        everyone = self.candidates(c, c.batch.numbers.repeat_interleave(n))
        scores = Scores(query, cosine / t, everyone, t, c)
        rules = [(x.treatment, x.rule(scores)) for x in self.filters]
        for treatment, rule in rules:
            if rule is not None and treatment == 'elimination':
                scores = scores.with_candidates(
                    scores.candidates.without(lambda a, b, rule=rule: ~rule(a, b))
                )
        mass = self.mass(scores)
        losses = mass if self.decoupled else torch.logaddexp(scores.positive, mass)
        losses = torch.where(mass == -torch.inf, 0.0, losses - scores.positive)
        for treatment, rule in rules:
            if rule is not None and treatment == 'attraction':
                found = scores.with_candidates(scores.candidates.without(rule))
                count = found.candidates.count(query)
                losses = losses + scores.positive
                losses = losses - (scores.positive + found.logit_sum()) / (1 + count)
        if self.training:
            scores = scores.with_candidates(everyone)
            for part in (self.temperature, *self.filters):
                part.observe(scores)
        return (losses * t if self.times_temperature else losses).mean(), {}

    @torch.no_grad()
    def remember(self, keys, batch):
        for units in keys if self.queue is not None else ():
            self.queue.enqueue(all_gather(unit(units.pooled)), all_gather(batch.indices))
        for part in self.filters:
            part.learn(keys, batch)
        self.mass.learn(batch)
        self.temperature.learn(batch)
