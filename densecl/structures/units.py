"""What a head compares: units of two views, which of them match, and the images behind them.

Shapes: B images, N units of the query side, M of the key side, D the width of a projection. Row r of a
flattened (B * N, D) belongs to image r // N.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from densecl.distributed import all_gather, all_gather_together, rank

from .geometry import cell_centers, image_to_view, view_to_image
from .views import Views


@dataclass
class Batch:
    """The B images of this process's batch.

    Attributes:
        numbers: (B,) int64, the number of each image in the batch of all processes.
        indices: (B,) int64, positions in the data set, or None.
        labels: (B,) int64 class ids, -1 where unknown, or None.
        scores: (B,) float32, how good the images generated of these are, nan where unknown, or None.
    """

    numbers: Tensor
    indices: Tensor | None = None
    labels: Tensor | None = None
    scores: Tensor | None = None
    _of_all: 'Batch | None' = field(default=None, init=False, repr=False, compare=False)

    @classmethod
    def of(cls, views: Views) -> 'Batch':
        """The images of a batch of views, numbered over all processes, each of which has as many."""
        return replace(cls.numbered(views.indices, views.labels), scores=views.scores)

    @classmethod
    def numbered(cls, indices: Tensor, labels: Tensor | None = None) -> 'Batch':
        """The same of positions in the data set."""
        here = torch.arange(len(indices), device=indices.device)
        return cls(here + rank() * len(indices), indices, labels)

    @classmethod
    def joined(cls, parts: list['Batch']) -> 'Batch':
        """The images of several batches of this process as those of one."""
        if len(parts) == 1:
            return parts[0]
        columns = {
            n: torch.cat([getattr(x, n) for x in parts]) for n in _filled(parts[0], 'indices', 'labels')
        }
        here = torch.arange(sum(len(x.numbers) for x in parts), device=parts[0].numbers.device)
        return cls(here + rank() * len(here), **columns)

    def of_all(self) -> 'Batch':
        """The images of all processes, in rank order; gathered when first asked for, and once."""
        if self._of_all is None:
            each = (self.numbers, self.indices, self.labels)
            unknown = torch.full_like(self.numbers, -1)
            columns = all_gather(torch.stack([unknown if x is None else x for x in each], 1)).unbind(1)
            self._of_all = Batch(*(None if x is None else c for x, c in zip(each, columns, strict=True)))
        return self._of_all


@dataclass
class Place:
    """Where the units of a view lie in the original images.

    Attributes:
        crop: (B, 4) float, what the view shows, x1, y1, x2, y2 in pixels of the original.
        flipped: (B,) bool, whether the view was mirrored.
        frame: (B, 2) float, width and height of the original in pixels.
        size: height and width of the view in pixels.
        grid: height and width in cells, where the units are the cells of a grid, row by row; else None.
        boxes: (B, N, 4), x1, y1, x2, y2 in pixels of the view, where the units are boxes; else None.
        warp: (B, 3, 3), of a warped view (``structures/geometry.py``); its ``crop`` is a box around what it
            shows. None: the view shows its crop.
    """

    crop: Tensor
    flipped: Tensor
    frame: Tensor
    size: tuple[int, int]
    grid: tuple[int, int] | None = None
    boxes: Tensor | None = None
    warp: Tensor | None = None

    def shares(self) -> Tensor:
        """(B, 4), the crop in shares of the original's width and height."""
        return self.crop / self.frame.repeat(1, 2)

    def centers(self, flipped: Tensor | None = None) -> Tensor:
        """(B, N, 2), centres of the units in pixels of the original; ``flipped`` in place of the view's."""
        flipped = self.flipped if flipped is None else flipped
        if self.grid is not None:
            return cell_centers(self.crop, flipped, self.grid, self.warp)
        middle = (self.boxes[..., :2] + self.boxes[..., 2:]) / 2
        return view_to_image(middle.to(self.crop.dtype), self.crop, flipped, self.size, self.warp)

    def in_photo(self) -> Tensor | None:
        """(B, N) bool, whether the centres lie in the original; None: all do, the view is not warped."""
        if self.warp is None:
            return None
        centers = self.centers()
        return ((centers >= 0) & (centers <= self.frame[:, None])).all(-1)

    def shows(self, points: Tensor) -> Tensor:
        """(B, N) bool, whether points (B, N, 2), in pixels of the original, lie in the view."""
        there = image_to_view(points, self.crop, self.flipped, (1, 1), self.warp)
        return ((there - 0.5).abs() <= 0.5).all(-1)


@dataclass
class UnknownPlace:
    """In place of a :class:`Place`, of views that are cut from another image: asking it is an error."""

    view: int
    size: tuple[int, int]
    grid: tuple[int, int] | None = None
    boxes: Tensor | None = None

    def __getattr__(self, name: str):
        if name.startswith('__'):
            raise AttributeError(name)
        raise ValueError(
            f'view {self.view} is cut from a generated image: its places in the photo are unknown ({name}); '
            'take a matching that asks for none, such as SameRow or MostSimilar, or pairs without this view'
        )


@dataclass
class Detections:
    """What the heads of a detector say of a view, and the boxes that they are to find there.

    Boxes are in pixels of the view; for offsets and ``stds`` see :func:`~densecl.structures.encode_boxes`.

    Attributes:
        boxes: (B, K, 4), what is to be found.
        there: (B, K) bool, which of them count; those without an area do not.
        anchors: (A, 4).
        logits: (B, A), that an anchor stands for any of the boxes.
        offsets: (B, A, 4), from the anchors to the boxes.
        stds: of these offsets.
        regions: (B, N, 4), what the box head looked at: the units.
        own: (B, N) int64, which of the boxes each region is to find.
        region_offsets: (B, N, 4), from the regions to these.
        region_stds: of those offsets.
    """

    boxes: Tensor
    there: Tensor
    anchors: Tensor
    logits: Tensor
    offsets: Tensor
    stds: tuple[float, ...]
    regions: Tensor
    own: Tensor
    region_offsets: Tensor
    region_stds: tuple[float, ...]


@dataclass
class Units:
    """One set of units as one branch sees it.

    Attributes:
        vectors: (B, N, D), the projector's output as it comes, not normalised. With prototypes: the scores
            (B, N, K) of K prototypes.
        predicted: (B, N, D), the predictor's output, on the query side of a head that has one.
        pooled: (B, D), one vector an image: what a queue keeps, and what other images meet as a negative.
        pooled_predicted: (B, D), the same of ``predicted``.
        valid: (B, N) bool, units that are there (the view shows the box, the slot won a cell); None: all.
        ids: (B, N) int64, an equal number is the same object in every view, and may repeat; -1 is none.
        place: where the units lie.
        features: (B, N, C), what the projector read of each unit, without gradient.
        embeddings: (B, N, E), unit vectors in front of the prototypes whose scores ``vectors`` are; of
            groups: the projected cells; of cells that go through a code book: what is coded.
        codes: (B, N, E), the code that stands for each of these embeddings, without gradient.
        others: (B, P, D), further vectors of the key side that are candidates and nothing else (ReSim).
        others_boxes: (P, 4), where they lie, in pixels of the view.
        labels: (B, N, K), how much of each unit has each of K labels, in [0, 1].
        label_ids: (B, K) int64, what they are: an equal number is the same label in every view; -1 is none.
        cells: (B, N) int64, of units that are some of a view's cells: their numbers, counted row by row; the
            other side's unit of this number shows the same place. None: all, in their order.
        detections: what a detector's heads say of the view, where the units are regions that these look at.
        view: the number of the view.
        whole: the M units of the full grid, where these were interpolated from them; None: nothing was.
        read: the interpolation, (B, M, E) of the units of ``whole`` -> (B, N, E) of these.
        log: name -> scalar without gradient, what is worth watching.
    """

    vectors: Tensor
    predicted: Tensor | None = None
    pooled: Tensor | None = None
    pooled_predicted: Tensor | None = None
    valid: Tensor | None = None
    ids: Tensor | None = None
    place: Place | None = None
    features: Tensor | None = None
    embeddings: Tensor | None = None
    codes: Tensor | None = None
    others: Tensor | None = None
    others_boxes: Tensor | None = None
    labels: Tensor | None = None
    label_ids: Tensor | None = None
    cells: Tensor | None = None
    detections: Detections | None = None
    view: int = 0
    whole: 'Units | None' = None
    read: Callable[[Tensor], Tensor] | None = None
    log: dict[str, Tensor] = field(default_factory=dict)
    _made: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    @property
    def compared(self) -> Tensor:
        """(B, N, D), what stands on the query's side: the predictions where there are any."""
        return self.vectors if self.predicted is None else self.predicted

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """What ``make`` returns, made once for this set, however many pairs it takes part in."""
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def as_read(self, made: Tensor) -> Tensor:
        """Values of the units of ``whole``, (B, M, E), interpolated as these units were, (B, N, E)."""
        return made if self.read is None else self.read(made)

    def of_all(self, name: str) -> Tensor:
        """A (B, ...) field of all processes, (W B, ...) in rank order, without gradient; gathered once."""
        return self.once(f'{name} of all', lambda: all_gather(getattr(self, name).detach()))

    @staticmethod
    def gather(fields: list[tuple['Units', str]]) -> None:
        """Gather fields of several sets together, so that :meth:`of_all` has them."""
        gathered = all_gather_together([getattr(units, name).detach() for units, name in fields])
        for (units, name), x in zip(fields, gathered, strict=True):
            units._made[f'{name} of all'] = x

    def take(self, chosen: Tensor) -> 'Units':
        """The units of (B, G) int64 rows; what belongs to no row is left out."""

        def rows(x: Tensor) -> Tensor:
            return x.gather(1, chosen if x.ndim == 2 else chosen[..., None].expand(-1, -1, x.shape[2]))

        names = ('vectors', 'predicted', 'valid', 'ids', 'features', 'embeddings', 'labels')
        taken = {n: rows(x) for n in names if (x := getattr(self, n)) is not None}
        located = self.place is not None and self.place.boxes is not None
        place = replace(self.place, boxes=rows(self.place.boxes)) if located else None
        return replace(self, place=place, **taken)

    def detach(self) -> 'Units':
        """The same without gradient."""
        names = _filled(self, 'vectors', 'pooled', 'embeddings', 'others')
        return replace(self, **{n: getattr(self, n).detach() for n in names})

    def kept(self, *further: str) -> 'Units':
        """What objectives remember of it: ``vectors``, ``pooled``, ``embeddings``, ``valid``, ``view`` and
        ``further`` fields; no gradient."""
        names = _filled(self, *dict.fromkeys((*_KEPT, *further)))
        return Units(**{n: getattr(self, n).detach() for n in names}, view=self.view)

    @classmethod
    def joined(cls, parts: list['Units']) -> 'Units':
        """The same set of several batches as one of a larger batch; what is :meth:`kept` of them.

        Where N differs (hidden patches), rows that are not there are added.
        """
        names = _filled(parts[0], *_KEPT, 'features')
        return cls(**{n: _stacked([getattr(x, n) for x in parts]) for n in names}, view=parts[0].view)


#: Fields that every objective may remember.
_KEPT = ('vectors', 'pooled', 'embeddings', 'valid')


def _stacked(parts: list[Tensor]) -> Tensor:
    """(B, N, ...) of several batches as one, each filled up with zeros to the largest N."""
    most = max(x.shape[1] for x in parts)
    added = [x.new_zeros(len(x), most - x.shape[1], *x.shape[2:]) for x in parts]
    return torch.cat([torch.cat(pair, 1) for pair in zip(parts, added, strict=True)])


def _filled(record, *names: str) -> list[str]:
    return [name for name in names if getattr(record, name) is not None]


@dataclass
class Match:
    """Which units of the key side answer each of the query side, by ``index`` or ``mask``; without gradient.

    Attributes:
        index: (B, N) int64 into the M rows of the key side: one answer a unit.
        mask: (B, N, M) bool: any number of answers, or none.
        valid: (B, N) bool, query units that count; None: all.
        weight: (B, N) float, factor of each unit's term, or None.
        across: candidates of other images that answer too: ``across(candidates)(columns)`` is bool (B * N, k)
            for a slice of the columns; ``candidates.labels`` (K,) is what such rules look at.
        read: ``read(query, key)`` returns the records that ``index`` and ``mask`` speak of, where these are
            not the records themselves: chosen rows, or both views on a common grid. It runs with gradient.
    """

    index: Tensor | None = None
    mask: Tensor | None = None
    valid: Tensor | None = None
    weight: Tensor | None = None
    across: Callable[[Any], Callable[[slice], Tensor]] | None = None
    read: Callable[['Units', 'Units'], tuple['Units', 'Units']] | None = None

    def count(self) -> Tensor:
        """(B, N) int64, how many units of its own image answer each query."""
        count = torch.ones_like(self.index) if self.mask is None else self.mask.sum(2)
        return count if self.valid is None else count * self.valid

    def found(self) -> Tensor:
        """(B, N) bool, the queries that count and have an answer."""
        return self.count() > 0

    def sum_of(self, keys: Tensor) -> Tensor:
        """(B, M, D) -> (B, N, D), the sum of each query's answers; of one that does not count, anything."""
        if self.mask is None:
            if keys.shape[1] == 1:  # nothing to choose from: no copy, which of many prototypes would be large
                return keys.expand(-1, self.index.shape[1], -1)
            return keys.gather(1, self.index[..., None].expand(-1, -1, keys.shape[-1]))
        with torch.autocast(keys.device.type, enabled=False):
            return self.mask.to(keys.dtype) @ keys

    def answers(self, keys: int) -> Tensor:
        """(B, N, M) bool, all pairs of a query that counts with an answer among M ``keys``."""
        mask = self.mask
        if mask is None:
            mask = self.index[..., None] == torch.arange(keys, device=self.index.device)
        return mask if self.valid is None else mask & self.valid[..., None]


@dataclass
class Comparison:
    """All that an objective may know of one pair of views.

    Attributes:
        query: units of the query view.
        key: units of the key view; None where an objective needs none.
        match: which of them answers which.
        batch: the images.
        own: the query view's units as the key side sees them, where the objective ``needs`` ``'own'``.
        support: (S, B, D), pooled vectors of further views of the images, without gradient, or None.
        projector: what made the key's vectors.
        keys: the key sets of all comparisons that the objective makes of this batch, of each kind apart; for
            what is computed of them together.
    """

    query: Units
    key: Units | None
    match: Match
    batch: Batch
    own: Units | None = None
    support: Tensor | None = None
    projector: Any = None
    keys: tuple[Units, ...] = ()

    def keys_together(self) -> tuple[Units, ...]:
        """``keys``, if the key is one of them as it is; else the key alone (the rule made a new record)."""
        return self.keys if any(key is self.key for key in self.keys) else (self.key,)

    @classmethod
    def of_sets(
        cls, query: Tensor, key: Tensor, answers: Tensor | None = None, batch: Batch | None = None
    ) -> 'Comparison':
        """Plain (B, N, D) and (B, M, D) as records.

        ``answers`` is int64 (B, N), the key row that answers each query row, or bool (B, N, M), any number of
        them; None: row i answers row i. ``batch`` None: images without positions and labels.
        """
        if answers is None:
            answers = torch.arange(query.shape[1], device=query.device).expand(len(query), -1)
        match = Match(mask=answers) if answers.dtype == torch.bool else Match(index=answers)
        batch = batch or Batch(torch.arange(len(query), device=query.device) + rank() * len(query))
        query, key = (Units(x, pooled=x.mean(1)) for x in (query, key))
        return cls(query, key, match, batch)

    @classmethod
    def of_rows(cls, query: Tensor, key: Tensor, batch: Batch | None = None) -> 'Comparison':
        """Two (B, D) views of B images, row i of which show one image, as records of one unit an image."""
        return cls.of_sets(query[:, None], key[:, None], batch=batch)


def labels_in(labels: Tensor, ids: Tensor, wanted: Tensor) -> Tensor:
    """Labels of units in another order, and without those that are not wanted.

    Args:
        labels: (..., M, K).
        ids: (..., K) int64, what these labels are, -1: none.
        wanted: (..., L) int64.

    Returns:
        (..., M, L), 0 where there is no such label.
    """
    same = (ids[..., :, None] == wanted[..., None, :]) & (ids >= 0)[..., :, None]
    with torch.autocast(labels.device.type, enabled=False):
        return labels @ same.to(labels.dtype)
