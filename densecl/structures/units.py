"""What a head compares: the units of two views, which units match, and the images that they come from.

Shapes: B images, N units of the query side, M of the key side, D the width of a projection. Row r of a
flattened (B * N, D) tensor belongs to image r // N.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
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
        numbers: (B,) int64, the number of each image in the joint batch of all processes.
        indices: (B,) int64, position of each image in the data set, or None.
        labels: (B,) int64 class ids, -1 where unknown, or None.
        scores: (B,) float32, quality of the image that was generated from each, nan where unknown, or None.
    """

    numbers: Tensor
    indices: Tensor | None = None
    labels: Tensor | None = None
    scores: Tensor | None = None
    _of_all: 'Batch | None' = field(default=None, init=False, repr=False, compare=False)

    @classmethod
    def of(cls, views: Views) -> 'Batch':
        """The images of ``views``, numbered over all processes. Every process must have the same B."""
        return replace(cls.numbered(views.indices, views.labels), scores=views.scores)

    @classmethod
    def numbered(cls, indices: Tensor, labels: Tensor | None = None) -> 'Batch':
        """As :meth:`of`, from the images' positions in the data set."""
        here = torch.arange(len(indices), device=indices.device)
        return cls(here + rank() * len(indices), indices, labels)

    @classmethod
    def joined(cls, parts: list['Batch']) -> 'Batch':
        """The images of several batches of this process as one batch."""
        if len(parts) == 1:
            return parts[0]
        columns = {
            n: torch.cat([getattr(x, n) for x in parts]) for n in _filled(parts[0], 'indices', 'labels')
        }
        here = torch.arange(sum(len(x.numbers) for x in parts), device=parts[0].numbers.device)
        return cls(here + rank() * len(here), **columns)

    def of_all(self) -> 'Batch':
        """The images of all processes, in rank order. They are gathered at the first call, then kept."""
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
        grid: height and width in cells, if the units are the cells of a grid, row by row; else None.
        boxes: (B, N, 4), x1, y1, x2, y2 in pixels of the view, if the units are boxes; else None.
        warp: (B, 3, 3), the homographies of a warped view (``structures/geometry.py``), whose ``crop`` is a
            box around what it shows. None: the view is not warped and shows its crop.
    """

    crop: Tensor
    flipped: Tensor
    frame: Tensor
    size: tuple[int, int]
    grid: tuple[int, int] | None = None
    boxes: Tensor | None = None
    warp: Tensor | None = None

    def shares(self) -> Tensor:
        """The crop in shares of the original's width and height, (B, 4)."""
        return self.crop / self.frame.repeat(1, 2)

    def centers(self, flipped: Tensor | None = None) -> Tensor:
        """Centres of the units, (B, N, 2), in pixels of the original.

        ``flipped``, if given, is used in place of the view's own.
        """
        flipped = self.flipped if flipped is None else flipped
        if self.grid is not None:
            return cell_centers(self.crop, flipped, self.grid, self.warp)
        middle = (self.boxes[..., :2] + self.boxes[..., 2:]) / 2
        return view_to_image(middle.to(self.crop.dtype), self.crop, flipped, self.size, self.warp)

    def in_photo(self) -> Tensor | None:
        """Whether each unit's centre lies in the original, (B, N) bool.

        None if the view is not warped: then all centres do.
        """
        if self.warp is None:
            return None
        centers = self.centers()
        return ((centers >= 0) & (centers <= self.frame[:, None])).all(-1)

    def shows(self, points: Tensor) -> Tensor:
        """Whether points (B, N, 2), in pixels of the original, lie in the view: (B, N) bool."""
        there = image_to_view(points, self.crop, self.flipped, (1, 1), self.warp)
        return ((there - 0.5).abs() <= 0.5).all(-1)


@dataclass
class UnknownPlace:
    """Replaces :class:`Place` for a view that is cut from a generated image.

    ``size``, ``grid`` and ``boxes`` describe the view itself and are known. Asking for anything else, which
    needs the place in the photo, is an error.
    """

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
    """The predictions of a detector's heads for a view, and the boxes that they have to find.

    Boxes are in pixels of the view. For offsets and ``stds`` see :func:`~densecl.structures.encode_boxes`.

    Attributes:
        boxes: (B, K, 4), the boxes to be found.
        there: (B, K) bool, the boxes that count; a box without an area does not.
        anchors: (A, 4), the anchors of the RPN.
        logits: (B, A), the objectness: whether an anchor contains any of the boxes.
        offsets: (B, A, 4), predicted from the anchors to the boxes.
        stds: the scales of these offsets.
        regions: (B, N, 4), the regions that the box head read; they are the units.
        own: (B, N) int64, the box that each region has to find.
        region_offsets: (B, N, 4), predicted from the regions to these boxes.
        region_stds: the scales of ``region_offsets``.
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
        vectors: (B, N, D), the output of the projector, not normalised. With prototypes: the scores (B, N, K)
            of K prototypes.
        predicted: (B, N, D), the output of the predictor, on the query side of a head that has one.
        pooled: (B, D), one vector an image. A queue stores it, and it is a negative for other images.
        pooled_predicted: (B, D), the same from ``predicted``.
        valid: (B, N) bool, the units that exist: the view shows the box, or the slot won a cell. None: all.
        ids: (B, N) int64; units with an equal id show the same object, in every view. Ids may repeat; -1: no
            id.
        place: where the units lie.
        features: (B, N, C), the projector's input for each unit, without gradient.
        embeddings: (B, N, E). With prototypes: the unit vectors whose scores are ``vectors``. With groups:
            the projected cells. With a code book: what is quantised.
        codes: (B, N, E), the code that replaces each of these embeddings, without gradient.
        others: (B, P, D), further vectors of the key side that are only candidates, never answers (ReSim).
        others_boxes: (P, 4), where they lie, in pixels of the view.
        labels: (B, N, K), the share of each unit that has each of K labels, in [0, 1].
        label_ids: (B, K) int64, names of these labels: an equal id is the same label in every view; -1: none.
        cells: (B, N) int64, if the units are only some of a view's cells: the numbers of these cells, counted
            row by row. The unit of the other side with this number shows the same place. None: all cells, in
            order.
        detections: predictions of a detector's heads, if the units are the regions of its box head.
        view: the number of the view.
        whole: the M units of the full grid, if these units were interpolated from them; else None.
        read: this interpolation, values of the units of ``whole`` (B, M, E) -> of these units (B, N, E).
        log: name -> scalar without gradient, values for the log.
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
        """What the query side compares, (B, N, D): the predictions if there are any, else ``vectors``."""
        return self.vectors if self.predicted is None else self.predicted

    @property
    def pooled_compared(self) -> Tensor | None:
        """The same of ``pooled``, (B, D)."""
        return self.pooled if self.pooled_predicted is None else self.pooled_predicted

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """The result of ``make``, called once for this set; later calls with ``name`` return the same object.

        So several pairs that use this set share one computation.
        """
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def as_read(self, made: Tensor) -> Tensor:
        """Interpolate values of the units of ``whole`` as these units were, (B, M, E) -> (B, N, E)."""
        return made if self.read is None else self.read(made)

    def of_all(self, name: str) -> Tensor:
        """A field (B, ...) of all W processes, (W B, ...), in rank order, without gradient; gathered once."""
        return self.once(f'{name} of all', lambda: all_gather(getattr(self, name).detach()))

    @staticmethod
    def gather(fields: list[tuple['Units', str]]) -> None:
        """Gather fields of several sets in one communication; :meth:`of_all` then returns them."""
        fields = [(units, name) for units, name in fields if f'{name} of all' not in units._made]
        gathered = all_gather_together([getattr(units, name).detach() for units, name in fields])
        for (units, name), x in zip(fields, gathered, strict=True):
            units._made[f'{name} of all'] = x

    def take(self, chosen: Tensor) -> 'Units':
        """Select G units of each image by their rows, ``chosen`` (B, G) int64.

        The place is selected, too, if the units are boxes; else it becomes None.
        """

        def rows(x: Tensor) -> Tensor:
            return x.gather(1, chosen if x.ndim == 2 else chosen[..., None].expand(-1, -1, x.shape[2]))

        names = ('vectors', 'predicted', 'valid', 'ids', 'features', 'embeddings', 'labels', 'cells', 'codes')
        taken = {n: rows(x) for n in names if (x := getattr(self, n)) is not None}
        located = self.place is not None and self.place.boxes is not None
        place = replace(self.place, boxes=rows(self.place.boxes)) if located else None
        return replace(self, place=place, **taken)

    def detach(self) -> 'Units':
        """The same units without gradient."""
        names = _filled(self, 'vectors', 'predicted', 'pooled', 'pooled_predicted', 'embeddings', 'others')
        return replace(self, **{n: getattr(self, n).detach() for n in names})

    def kept(self, *further: str) -> 'Units':
        """The fields that objectives remember, without gradient.

        They are ``vectors``, ``pooled``, ``embeddings``, ``valid``, ``view`` and the ``further`` fields.
        """
        names = _filled(self, *dict.fromkeys((*_KEPT, *further)))
        return Units(**{n: getattr(self, n).detach() for n in names}, view=self.view)

    @classmethod
    def joined(cls, parts: list['Units']) -> 'Units':
        """The same set of several batches as one larger batch; only the fields that :meth:`kept` keeps.

        If N differs (number of hidden patches), the smaller ones are padded with rows that are not valid.
        """
        tensors = [f.name for f in fields(cls) if isinstance(getattr(parts[0], f.name), Tensor)]
        tensors = [name for name in tensors if name != 'others_boxes']  # alike in all batches
        return cls(**{n: _stacked([getattr(x, n) for x in parts]) for n in tensors}, view=parts[0].view)


#: Fields that every objective may remember.
_KEPT = ('vectors', 'pooled', 'embeddings', 'valid')


def _stacked(parts: list[Tensor]) -> Tensor:
    """Concatenate (B, N, ...) of several batches along B, each padded to the largest N: ids by -1, "none"."""
    most = max(x.shape[1] for x in parts)
    none = -1 if parts[0].dtype == torch.int64 else 0
    added = [x.new_full((len(x), most - x.shape[1], *x.shape[2:]), none) for x in parts]
    return torch.cat([torch.cat(pair, 1) for pair in zip(parts, added, strict=True)])


def _filled(record, *names: str) -> list[str]:
    return [name for name in names if getattr(record, name) is not None]


@dataclass
class Match:
    """Which key units answer each query unit (its positives), by ``index`` or by ``mask``; without gradient.

    Attributes:
        index: (B, N) int64, a row of the M key units: each query unit has one answer.
        mask: (B, N, M) bool: each query unit has any number of answers, or none.
        valid: (B, N) bool, query units that count; None: all.
        weight: (B, N) float, factor of each unit's term in the loss, or None.
        across: selects candidates of other images that are answers, too. ``across(candidates)(columns)`` is
            bool (B * N, k) for a slice of k columns. Such rules use ``candidates.labels`` (K,).
        read: ``read(query, key)`` returns the two records whose rows ``index`` and ``mask`` mean, if these
            are not the records of the views themselves. Examples: some chosen rows, or both views on a common
            grid. It runs with gradient.
    """

    index: Tensor | None = None
    mask: Tensor | None = None
    valid: Tensor | None = None
    weight: Tensor | None = None
    across: Callable[[Any], Callable[[slice], Tensor]] | None = None
    read: Callable[['Units', 'Units'], tuple['Units', 'Units']] | None = None

    def count(self) -> Tensor:
        """Number of answers that each query has in its own image, (B, N) int64."""
        count = torch.ones_like(self.index) if self.mask is None else self.mask.sum(2)
        return count if self.valid is None else count * self.valid

    def found(self) -> Tensor:
        """The queries that count and have at least one answer, (B, N) bool."""
        return self.count() > 0

    def sum_of(self, keys: Tensor) -> Tensor:
        """The sum of each query's answers, (B, M, D) -> (B, N, D).

        The value of a query that does not count is arbitrary.
        """
        if self.mask is None:
            if keys.shape[1] == 1:  # one key: avoid a copy, which is large if D is many prototypes
                return keys.expand(-1, self.index.shape[1], -1)
            return keys.gather(1, self.index[..., None].expand(-1, -1, keys.shape[-1]))
        with torch.autocast(keys.device.type, enabled=False):
            return self.mask.to(keys.dtype) @ keys

    def answers(self, keys: int) -> Tensor:
        """Which of M ``keys`` answer each query that counts, (B, N, M) bool."""
        mask = self.mask
        if mask is None:
            mask = self.index[..., None] == torch.arange(keys, device=self.index.device)
        return mask if self.valid is None else mask & self.valid[..., None]


@dataclass
class Comparison:
    """All that an objective may use of one pair of views.

    Attributes:
        query: units of the query view.
        key: units of the key view; None if the objective needs none.
        match: which key units answer which query units.
        batch: the images.
        own: units of the query view from the key side's encoder, if the objective ``needs`` ``'own'``.
        support: (S, B, D), pooled vectors of S further views of the images, without gradient, or None.
        projector: the module that made the key's vectors.
        keys: the key sets of the same kind in all comparisons of this batch. Some objectives compute one
            result from all of them together.
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
        """``keys`` if they contain the key itself; else the key alone, as the rule made a new record."""
        return self.keys if any(key is self.key for key in self.keys) else (self.key,)

    @classmethod
    def of_sets(
        cls, query: Tensor, key: Tensor, answers: Tensor | None = None, batch: Batch | None = None
    ) -> 'Comparison':
        """Make a comparison of plain tensors: ``query`` (B, N, D) and ``key`` (B, M, D).

        ``answers`` is int64 (B, N), the key row that answers each query row; or bool (B, N, M), any number of
        answers; or None: key row i answers query row i. With ``batch=None`` the images have no data set
        positions and no labels.
        """
        if answers is None:
            answers = torch.arange(query.shape[1], device=query.device).expand(len(query), -1)
        match = Match(mask=answers) if answers.dtype == torch.bool else Match(index=answers)
        batch = batch or Batch(torch.arange(len(query), device=query.device) + rank() * len(query))
        query, key = (Units(x, pooled=x.mean(1)) for x in (query, key))
        return cls(query, key, match, batch)

    @classmethod
    def of_rows(cls, query: Tensor, key: Tensor, batch: Batch | None = None) -> 'Comparison':
        """Make a comparison of two (B, D) views of B images, with one unit an image.

        Row i of both views shows the same image.
        """
        return cls.of_sets(query[:, None], key[:, None], batch=batch)


def labels_in(labels: Tensor, ids: Tensor, wanted: Tensor) -> Tensor:
    """Bring the labels of units to another order; labels that are not wanted are left out.

    Args:
        labels: (..., M, K), the share of each unit that has each label.
        ids: (..., K) int64, ids of these labels, -1: none.
        wanted: (..., L) int64, ids of the labels to return.

    Returns:
        (..., M, L), 0 where there is no such label.
    """
    same = (ids[..., :, None] == wanted[..., None, :]) & (ids >= 0)[..., :, None]
    with torch.autocast(labels.device.type, enabled=False):
        return labels @ same.to(labels.dtype)
