"""The head of every method: units, the rule that matches them, and the objective that scores the match."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from densecl.models.active import only_active
from densecl.models.losses.objective import Objective, checked_score
from densecl.models.memory import Queue
from densecl.registry import MODELS
from densecl.structures import Batch, Comparison, Match, Units, Views

from .needs import (
    check,
    check_both_ways,
    check_decoder,
    check_pooling,
    check_support,
    check_weighted,
    is_trained,
)
from .pairs import Pair, crop_pairs, parse_pairs
from .units import Set, kind_of, view_of
from .units.base import NoLevelError

if TYPE_CHECKING:
    from densecl.models.pretrainers import Branch

#: Number of rows of a set that are observed, to detect collapse.
WATCHED = 128


class Plan(NamedTuple):
    """What a head does with a batch: its pairs, the sets to read, and the key sets to remember, in order."""

    pairs: list[Pair]
    queries: list[Set]
    keys: list[Set]
    remembered: list[Set]


@dataclass
class Result:
    """What a head returns for a batch.

    Attributes:
        loss: scalar.
        log: name -> scalar without gradient, the diagnostics.
        keys: the key sets that the objectives remember.
        watched: kind -> some rows of the queries, and which of them are valid; see :func:`watched`.
    """

    loss: Tensor
    log: dict[str, Tensor]
    keys: dict[Set, Units]
    watched: dict[str, tuple[Tensor, Tensor | None]]


@MODELS.register_module()
class Head(nn.Module):
    """Compares units of views. Every method is a choice of these arguments.

    Args:
        objective: name or config of the loss that scores a match. Units of several kinds have one objective
            for each kind of key: one config for all, or a dict kind -> config.
        units: name or config of what is compared.
        matching: name or config of the rule that says which key unit answers a query unit. A list of rules:
            their losses add up. With several kinds of units, a dict kind of query -> any of these.
        projector: module config. In a momentum pair the target branch has its own moving average of it, if
            keys are of that branch (``target``). None: the features themselves are compared.
        predictor: config of a module that maps a query's projection to a prediction of its key (BYOL,
            SimSiam, MoCo v3). It runs once a view. None: the projections are compared.
        pairs: see :func:`~densecl.models.heads.pairs.parse_pairs`. Both directions, ``((0, 1), (1, 0))``,
            make a symmetric loss. ``'crops'``: every view is a query, with each of views 0 and 1 as key,
            but never with itself.
        target: what makes the keys. None: the pretrainer's own target branch. ``'start'``: the frozen
            backbone as it was when training began; its features are the keys, not projected (an anchor).
            ``'features'``: the features of the target branch, not projected (CAPI). A module config, such as
            ``dict(type='Pixels', patch=16)``: its output for the images is the keys, not projected; it sees
            no mask, and is trained only if it says so (``dict(type='Text', ...)``).
        both_ways: only with a trained target of the head's own. Score each pair in both directions, with the
            keys as queries, too, and take the mean (CLIP).
        stop_gradient: no gradient reaches the keys (SimSiam). The keys of a momentum target never get one.
        support: further views. The target encodes each by itself, without gradient. An objective may use
            them to measure how similar images are (``negatives=dict(type='SimilarImages')``).
        pair_weight: name or config of the weight of each image's pair, ``'PairQuality'`` (GenView) or
            ``'GivenQuality'``; None: all weights are equal.
        loss_weight: factor of this head's loss in the sum.
        warmup_steps: for this many optimiser steps the head has the weight 0.

    Raises:
        ValueError: the arguments do not fit together; the message says what would.
    """

    def __init__(
        self,
        objective: str | dict,
        units: str | dict = 'Image',
        matching: str | dict | Sequence = 'SameRow',
        projector: dict | None = None,
        predictor: dict | None = None,
        pairs: str | Sequence = ((0, 1),),
        target: str | dict | None = None,
        both_ways: bool = False,
        stop_gradient: bool = False,
        support: Sequence[int] = (),
        pair_weight: str | dict | None = None,
        loss_weight: float = 1.0,
        warmup_steps: int = 0,
    ) -> None:
        super().__init__()
        self.units = _build(units)
        self.projector = nn.Identity() if projector is None else MODELS.build(projector)
        self.predictor = None if predictor is None else MODELS.build(predictor)
        self.crops = pairs == 'crops'
        if isinstance(pairs, str) and (not self.crops or self.units.kinds):
            raise ValueError(
                f"pairs must be 'crops' (units of one kind only) or a list of (query, key), got {pairs!r}"
            )
        self.pairs = crop_pairs(2) if self.crops else parse_pairs(pairs, self.units.kinds)
        self.rules = _of_kinds(matching, [kind_of(p.query) for p in self.pairs], _build_rules)
        built = _of_kinds(objective, [kind_of(p.key) for p in self.pairs], _build)
        self.objective = nn.ModuleDict(built) if self.units.kinds else built[None]
        self.target = _build_target(target)
        check_decoder(self.units, self.projector, self.target)
        check_pooling(self.units, self.projector)
        self.both_ways, self.stop_gradient, self.support = both_ways, stop_gradient, tuple(support)
        self.pair_weight = None if pair_weight is None else _build(pair_weight)
        self._plans: dict[int, Plan] = {}
        if warmup_steps < 0:
            raise ValueError(f'warmup_steps must be at least 0, got {warmup_steps}')
        self.loss_weight, self.warmup_steps = loss_weight, warmup_steps
        check_support(self.support, self.units, self.objective)
        for pair in self.pairs:
            kinds = dict.fromkeys(kind_of(s) for s in (pair.query, pair.key))
            check(self.units, kinds, self.rules[kind_of(pair.query)], self._objective(pair.key))
            if pair_weight is not None:
                check_weighted(self.pair_weight, self.target, self._objective(pair.key))
            if both_ways:
                check_both_ways(self.target, self.predictor, self._objective(pair.key), stop_gradient)

    def train(self, mode: bool = True) -> 'Head':
        """As torch's, but a target that is not trained stays in eval mode."""
        super().train(mode)
        if isinstance(self.target, nn.Module) and not is_trained(self.target):
            self.target.eval()
        return self

    def _objective(self, chosen: Set) -> Objective:
        """The objective that scores keys of this set."""
        return self.objective if kind_of(chosen) is None else self.objective[kind_of(chosen)]

    def loss(
        self, online: 'Branch', target: 'Branch', views: Views, batch: Batch, target_projector: nn.Module
    ) -> Result:
        """Score all pairs of a batch.

        ``online[v]`` is the levels (B, C, H, W) of view v. ``target`` has the same views, encoded by the
        other branch; it is the same object as ``online`` if both share weights. ``target_projector`` projects
        the features of ``target``.
        """
        plan, views = self.plan(len(views)), self.units.found(target, views)
        if target is online:
            both = sorted({*plan.queries, *plan.keys})
            queries = self.read(online, self.projector, views, both, plan.queries)
            keys = {s: queries[s].detach() if self.stop_gradient else queries[s] for s in plan.keys}
        else:
            queries = self.read(online, self.projector, views, plan.queries, plan.queries)
            keys = self.read(target, target_projector, views, plan.keys)
            keys = {s: units.detach() for s, units in keys.items()} if self.stop_gradient else keys
        support = self.read_support(target, views, target_projector) if self.support else None
        total, scored = 0.0, []
        for pair in plan.pairs:
            objective = self._objective(pair.key)
            for rule in self.rules[kind_of(pair.query)]:
                sides = [(queries[pair.query], keys.get(pair.key))]
                sides += [sides[0][::-1]] if self.both_ways else []
                for query, key in sides:
                    other = query if key is None else key
                    match = rule(query, other, batch)
                    if match.weight is not None and not _weighs(objective):
                        raise ValueError(
                            f'matching={type(rule).__name__} weights units, which '
                            f"objective={type(objective).__name__} does not; take 'Cosine' or 'InfoNCE', or "
                            'let your objective multiply its terms by match.weight and say weighs = True'
                        )
                    if self.pair_weight is not None:
                        match = self._weighted(match, pair, target, query, batch)
                    if match.read is not None:
                        query, key = match.read(query, other)
                    if self.predictor is not None and self.units.predicts_late(pair.query):
                        query = predict_matched(self.predictor, query, match)
                    own = keys.get(pair.query)
                    together = tuple(keys[s] for s in plan.remembered if kind_of(s) == kind_of(pair.key))
                    compared = Comparison(query, key, match, batch, own, support, target_projector, together)
                    value, found = checked_score(objective, compared)
                    total = total + pair.weight / len(sides) * value
                    scored.append((pair.name, value, found, match))
        remembered = {s: keys[s] for s in plan.remembered}
        return Result(total, diagnostics(scored, keys), remembered, watched(queries))

    def _weighted(self, match: Match, pair: Pair, target: 'Branch', query: Units, batch: Batch) -> Match:
        """The match, in which the terms of each image are multiplied by the weight of its pair, too."""
        levels = (target[view_of(s)] for s in (pair.query, pair.key))
        weight = self.pair_weight(*levels, batch)[:, None]
        rows = query.vectors.shape[1] if match.index is None else match.index.shape[1]
        weight = weight.expand(-1, rows) if match.weight is None else weight * match.weight
        return replace(match, weight=weight)

    def read(
        self, branch: 'Branch', projector: nn.Module, views: Views, sets: Sequence[Set], predicted=()
    ) -> dict[Set, Units]:
        """Make sets of units from a branch: read the levels, project, predict, make the records.

        Only the sets in ``predicted`` go through the predictor. Sets with the same source share one pass.
        """
        if not sets:  # the objective needs no keys
            return {}
        units, source = self.units, {s: self.units.source(s) for s in sets}
        predicted = {source[s] for s in predicted} if self.predictor is not None else ()
        with torch.set_grad_enabled(branch.gradient):
            try:
                x = {f: units.inputs(branch, views, f) for f in dict.fromkeys(source.values())}
            except NoLevelError as error:
                raise ValueError(
                    f'units={type(units).__name__} wants a level that the backbone does not return '
                    f"({error}); set the backbone's out_indices, or units.level"
                ) from error
            z = units.project(projector, x, branch.joint)
            p = {f: units.predict(self.predictor, z[f]) for f in x if f in predicted}
            found = {}
            for s, f in source.items():
                found[s] = units.record(s, x[f], z[f], p.get(f), views)
                found[s].view = view_of(s)
        return found

    def read_support(self, target: 'Branch', views: Views, projector: nn.Module) -> Tensor | None:
        """The pooled vectors of the S support views, (S, B, D)."""
        if max(self.support) >= len(views):
            raise ValueError(
                f'support {self.support} needs {max(self.support) + 1} views, the pipeline makes '
                f'{len(views)}; add views to its MultiView or change support'
            )
        units = self.read(target.without_gradient(), projector, views, self.support)
        return torch.stack([units[v].pooled for v in self.support])

    def sends(self, keys: dict[Set, Units]) -> list[tuple[Units, str]]:
        """(key set, field) for every field that :meth:`remember` needs from all processes."""
        wanted = [(units, name) for s, units in keys.items() for name in self.remembers(s)]
        return [(units, name) for units, name in wanted if getattr(units, name) is not None]

    def remembers(self, chosen: Set) -> Sequence[str]:
        """The fields of a key set that :meth:`remember` needs from all processes."""
        return self._objective(chosen).sends

    @torch.no_grad()
    def remember(self, keys: dict[Set, Units], batch: Batch) -> None:
        """Let objectives and units store what they keep of the step's keys; called after all heads scored."""
        self.units.remember(self.projector)
        by_objective: dict[Objective, list[Units]] = {}
        for s, units in keys.items():
            by_objective.setdefault(self._objective(s), []).append(units)
        for objective, sets in by_objective.items():
            objective.remember(sets, batch)

    def plan(self, count: int) -> Plan:
        """What to do with a batch of ``count`` views. It needs every view that the pairs name."""
        if count not in self._plans:
            pairs = crop_pairs(count) if self.crops else self.pairs
            queries, keys, remembered = {pair.query for pair in pairs}, set(), {}  # a dict keeps the order
            for pair in pairs:
                objective = self._objective(pair.key)
                if objective.needs_keys:
                    keys |= {pair.key, pair.query} if 'own' in objective.needs else {pair.key}
                    remembered[pair.key] = None
            most = max(v for s in (*queries, *keys) for v in self.units.views_of(s)) + 1
            if count < most:
                raise ValueError(
                    f'pairs need {most} views, the pipeline makes {count}; add views to its MultiView or '
                    'change pairs'
                )
            self._plans[count] = Plan(pairs, sorted(queries), sorted(keys), list(remembered))
        return self._plans[count]

    def needed(self, count: int) -> dict[str, set[int]]:
        """The views, of ``count``, that the head reads from the ``'online'`` and the ``'target'`` branch."""
        plan = self.plan(count)
        sides = {'online': plan.queries, 'target': plan.keys}
        return {side: {v for s in sets for v in self.units.views_of(s)} for side, sets in sides.items()}

    def weight(self, step: int) -> float:
        """The factor of this head's loss after ``step`` optimiser steps."""
        return 0.0 if step < self.warmup_steps else self.loss_weight

    def frozen_parameters(self) -> Sequence[nn.Parameter]:
        """Parameters that the next optimiser step must not change."""
        return self.units.frozen(self.projector)

    def queues(self) -> dict[str, Queue]:
        """Kind of keys -> their queue; the kind is ``''`` if there is only one."""
        parts = self.objective.items() if self.units.kinds else [('', self.objective)]
        return {kind: part.watched_queue for kind, part in parts if part.watched_queue is not None}

    def may_collapse(self) -> list[str]:
        """Kinds of queries (``''`` if there is only one) that can collapse to one embedding for all units.

        Queries with given answers (pixels, classes, features of a frozen network) cannot collapse. Queries
        scored by prototypes are not listed either: their objective logs ``groups``, which shows a collapse.
        """
        if self.target not in (None, 'features') and not is_trained(self.target):
            return []
        scored = [(kind_of(pair.query) or '', self._objective(pair.key)) for pair in self.pairs]
        return [kind for kind, by in scored if by.needs_keys and not by.assigns]


def predict_matched(predictor: nn.Module, query: Units, match: Match) -> Units:
    """Predict the rows that have an answer; the others are 0 and get no gradient.

    All rows go through the predictor, as their number is fixed: so nothing waits for the device. The
    statistics of batch norm count only the rows with an answer.
    """
    found = match.found()
    with only_active(predictor, found.flatten()):
        predictions = predictor(query.vectors.flatten(0, 1)).unflatten(0, found.shape)
    return replace(query, predicted=torch.where(found[..., None], predictions, 0.0))


@torch.no_grad()
def watched(queries: dict[Set, Units]) -> dict[str, tuple[Tensor, Tensor | None]]:
    """Kind -> copies of some rows of the queries, spread over the batch, and which of them are valid."""
    found = {}
    for chosen, units in queries.items():
        rows = (units.vectors if units.embeddings is None else units.embeddings).flatten(0, 1)
        every = max(1, len(rows) // WATCHED)
        valid = None if units.valid is None else units.valid.flatten()[::every][:WATCHED].clone()
        found.setdefault(kind_of(chosen) or '', (rows[::every][:WATCHED].clone(), valid))
    return found


def diagnostics(said: list[tuple], keys: dict[Set, Units]) -> dict[str, Tensor]:
    """The values for the log, from comparisons and key sets.

    Values of unnamed pairs are averaged. Values of a named pair get its name.

    Raises:
        ValueError: a name holds 'loss': mmengine would add its value to the loss.
    """
    values: dict[str, list[Tensor]] = {}
    for name, value, found, match in said:
        if match.mask is not None or match.valid is not None:
            there = match.found()
            found = {**found, 'matched': there.sum() / max(there.numel(), 1)}
        if name:
            found = {name: value.detach(), **{f'{what}_{name}': x for what, x in found.items()}}
        for what, x in found.items():
            values.setdefault(what, []).append(x)
    for what, x in (item for units in keys.values() for item in units.log.items()):
        values.setdefault(what, []).append(x)
    if odd := [what for what in values if 'loss' in what]:
        raise ValueError(f"the log has a value {odd[0]!r}: what holds 'loss' is minimised; rename it")
    return {what: sum(each).detach() / len(each) for what, each in values.items()}


def _weighs(objective: Objective) -> bool:
    """Whether a part of an objective multiplies its terms by the weights of units, or none has answers."""
    return not objective.needs_keys or any(getattr(part, 'weighs', False) for part in objective.modules())


def _build(config: str | dict) -> nn.Module:
    return MODELS.build(dict(type=config) if isinstance(config, str) else config)


def _build_target(config: str | dict | None) -> str | nn.Module | None:
    if config in (None, 'start', 'features'):
        return config
    if not isinstance(config, dict):
        raise ValueError(
            "target must be None, 'start', 'features' or the config of a module that maps images to levels, "
            f"such as dict(type='Pixels', patch=16); got {config!r}"
        )
    target = MODELS.build(config)
    return target if is_trained(target) else target.requires_grad_(False).eval()


def _build_rules(config: str | dict | Sequence) -> nn.ModuleList:
    return nn.ModuleList(_build(rule) for rule in (config if isinstance(config, list | tuple) else [config]))


def _of_kinds(config, kinds: list[str | None], build) -> dict:
    """Kind -> what ``build`` makes of its config, in the order in which the pairs name the kinds."""
    each = isinstance(config, dict) and 'type' not in config
    if each and None in kinds:
        raise ValueError(f"heads: {dict(config)!r} has no 'type'; name a class, such as type='InfoNCE'")
    missing = [kind for kind in kinds if each and kind not in config]
    if missing:
        raise ValueError(f'heads: no entry for units of kind {missing[0]!r} in {dict(config)!r}')
    return {kind: build(config[kind] if each else config) for kind in dict.fromkeys(kinds)}
