"""What an objective may know of its rows beyond the vectors."""

from dataclasses import dataclass

from torch import Tensor


@dataclass
class Samples:
    """The images behind the N queries and M keys of one process; everything is optional.

    Attributes:
        indices: (B,) int64, positions of the images in the data set, for what keeps state per image.
        labels: (B,) int64, class ids; -1 is unlabelled.
        rows: (N,) int64, which of the B images each query comes from; None: query i is of image i.
        queries: (B, C), what stands for the query view's images where they serve as negatives; the queries
            themselves by default.
        support: (S, B, C), further views of the images, without gradient, for what asks how alike images are.
    """

    indices: Tensor | None = None
    labels: Tensor | None = None
    rows: Tensor | None = None
    queries: Tensor | None = None
    support: Tensor | None = None

    def of_queries(self, values: Tensor) -> Tensor:
        """(B, ...) values per image -> (N, ...) values per query."""
        return values if self.rows is None else values[self.rows]
