"""Warped views: rotation, translation, scale, shear and perspective (``Warp``), and how they are sampled.

The 3 x 3 matrices here map view coordinates to crop coordinates: (x, y, 1) of a point in the view to a
multiple of (x, y, 1) in the crop. Coordinates are shares of width and height; view and crop are [0, 1] x
[0, 1].
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from .crop import resize_crop

Matrix = tuple[float, ...]  # nine numbers, row by row
IDENTITY: Matrix = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
UPSIDE_DOWN: Matrix = (1.0, 0.0, 0.0, 0.0, -1.0, 1.0, 0.0, 0.0, 1.0)
#: Matrix (view to crop) of a view that is rotated by 90 degrees counter-clockwise.
QUARTER_TURN = np.array([[0.0, -1, 1], [1, 0, 0], [0, 0, 1]])
_CORNERS = np.array([[0.0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]])
_SHRINK = 1.5  # image pixels per view pixel; with more, the image is first made smaller
_DRAWS = 15  # warp or not, angle, 2 shifts, scale, 2 shears, 8 for the corners


@dataclass
class Warp:
    """How a view is warped: first affine, as torchvision's ``RandomAffine``, then a perspective change, as
    its ``RandomPerspective``. The defaults change nothing.

    The pixels are read from the whole photo, also from outside the crop. Pixels outside the photo get
    ``fill``.

    Attributes:
        rotation: lower and upper angle in degrees around the middle of the view, clockwise.
        translate: largest shift along x and y, as a share of the view.
        scale: lower and upper magnification of the content.
        shear: lower and upper angle in degrees along x.
        shear_y: the same along y.
        perspective: largest inward shift of each corner, as a share of half the view; in [0, 1).
        prob: probability of the whole warp.
        fill: value of the pixels outside the photo, one number or one per channel, in the photo's units.
    """

    rotation: tuple[float, float] = (0.0, 0.0)
    translate: tuple[float, float] = (0.0, 0.0)
    scale: tuple[float, float] = (1.0, 1.0)
    shear: tuple[float, float] = (0.0, 0.0)
    shear_y: tuple[float, float] = (0.0, 0.0)
    perspective: float = 0.0
    prob: float = 1.0
    fill: float | tuple[float, ...] = 0.0

    def __post_init__(self) -> None:
        for name in ('rotation', 'scale', 'shear', 'shear_y'):
            low, high = getattr(self, name)
            self._require(low <= high, name, '(low, high) with low <= high')
            if name.startswith('shear'):
                self._require(low > -90 and high < 90, name, 'between -90 and 90 degrees')
        self._require(self.scale[0] > 0, 'scale', '(low, high) with 0 < low <= high')
        self._require(
            len(self.translate) == 2 and min(self.translate) >= 0, 'translate', 'two shares, at least 0'
        )
        self._require(0 <= self.perspective < 1, 'perspective', 'in [0, 1)')
        self._require(0 <= self.prob <= 1, 'prob', 'in [0, 1]')
        self.fill = tuple(self.fill) if isinstance(self.fill, list | tuple) else self.fill

    def _require(self, valid: bool, name: str, expected: str) -> None:
        if not valid:
            raise ValueError(f'view recipe: warp.{name} must be {expected}, got {getattr(self, name)!r}')

    def draw(self, rng: np.random.Generator, size: tuple[int, int]) -> Matrix:
        """Draw the matrix of a view of ``size`` (height, width); always uses as many values of ``rng``."""
        u = rng.random(_DRAWS)
        if u[0] >= self.prob:
            return IDENTITY

        def between(limits: tuple[float, float], share: float) -> float:
            return limits[0] + share * (limits[1] - limits[0])

        affine = affine_matrix(
            between(self.rotation, u[1]),
            (self.translate[0] * (2 * u[2] - 1), self.translate[1] * (2 * u[3] - 1)),
            between(self.scale, u[4]),
            (between(self.shear, u[5]), between(self.shear_y, u[6])),
            size,
        )
        found = affine
        if self.perspective:
            inwards = np.where(_CORNERS[:, :2] < 0.5, 1, -1) * u[7:].reshape(4, 2) * self.perspective / 2
            found = affine @ homography(_CORNERS[:, :2] + inwards, _CORNERS[:, :2])
        return tuple(found.ravel().tolist())


def affine_matrix(
    angle: float,
    translate: tuple[float, float],
    scale: float,
    shear: tuple[float, float],
    size: tuple[int, int],
) -> np.ndarray:
    """Matrix (view to crop) of ``torchvision.transforms.v2.functional.affine`` with these values.

    Args:
        angle: degrees, clockwise.
        translate: x and y, as shares of the view.
        scale: above 0.
        shear: degrees along x and y.
        size: height and width of the view.

    Returns:
        (3, 3).
    """
    turn, (x, y) = math.radians(angle), (math.tan(math.radians(s)) for s in shear)
    rotated = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    linear = scale * rotated @ [[1, 0], [-y, 1]] @ [[1, -x], [0, 1]]
    sides = np.array([size[1], size[0]], float)
    inverse = np.linalg.inv(linear * sides / sides[:, None])  # in shares of width and height
    found = np.eye(3)
    found[:2, :2] = inverse
    found[:2, 2] = 0.5 - inverse @ (0.5 + np.array(translate))
    return found


def homography(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The (3, 3) matrix that maps four points to four others, (4, 2) each; its last number is 1."""
    (x, y), (u, v) = start.T, end.T
    one, zero = np.ones(4), np.zeros(4)
    first = np.stack([x, y, one, zero, zero, zero, -u * x, -u * y], 1)
    second = np.stack([zero, zero, zero, x, y, one, -v * x, -v * y], 1)
    solved = np.linalg.solve(np.concatenate([first, second]), np.concatenate([u, v]))
    return np.append(solved, 1.0).reshape(3, 3)


def then(first: Matrix, second: Matrix) -> Matrix:
    """The matrix that applies ``first``, then ``second``."""
    return tuple((np.reshape(second, (3, 3)) @ np.reshape(first, (3, 3))).ravel().tolist())


def outline(matrix: Matrix) -> np.ndarray:
    """(4, 2), the view's corners in crop coordinates."""
    corners = _CORNERS @ np.reshape(matrix, (3, 3)).T
    return corners[:, :2] / corners[:, 2:]


def zoom(matrix: Matrix) -> float:
    """Square root of the ratio of two areas: what the view shows, and its crop."""
    x, y = outline(matrix).T
    return math.sqrt(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def hull(matrix: Matrix) -> tuple[np.ndarray, np.ndarray]:
    """The smallest axis-aligned box around the view, in crop coordinates: two opposite corners, (2,) each."""
    corners = outline(matrix)
    return corners.min(0), corners.max(0)


def relative_to_hull(matrix: Matrix) -> np.ndarray:
    """(3, 3), the same map, but to shares of the hull."""
    near, far = hull(matrix)
    side = far - near
    to_hull = np.diag([*1 / side, 1])
    to_hull[:2, 2] = -near / side
    found = to_hull @ np.reshape(matrix, (3, 3))
    return found / found[2, 2]


def warp_crop(
    image: np.ndarray,
    box: tuple[int, int, int, int],
    size: tuple[int, int],
    matrix: Matrix,
    fill: float | tuple[float, ...] = 0.0,
    interpolation: str = 'bilinear',
) -> np.ndarray:
    """The pixels of a warped view.

    First the axis-aligned box around the view is cut out. Along an axis with more than 1.5 image pixels per
    view pixel it is made smaller with antialiasing. The view is then sampled from it with bilinear
    interpolation, as torchvision's ``affine`` and ``perspective`` do.

    Args:
        image: (H, W, C), uint8, uint16 or float32.
        box: the crop, x1, y1, x2, y2, integers.
        size: height and width of the view.
        matrix: (3, 3) row by row, see the module's docstring.
        fill: value outside the image; within half a pixel of the border it is mixed with the image.
        interpolation: used to make the image smaller.

    Returns:
        (height, width, C) of the same type.
    """
    if matrix == IDENTITY:
        return resize_crop(image, box, size, interpolation)
    if matrix == UPSIDE_DOWN:
        return np.ascontiguousarray(resize_crop(image, box, size, interpolation)[::-1])
    corner, side = np.array(box[:2], float), np.subtract(box[2:], box[:2]).astype(float)
    density = zoom(matrix) * side / size[::-1]  # image pixels per view pixel
    density = np.where(density > _SHRINK, density, 1)
    near, far = (corner + share * side for share in hull(matrix))
    limit = np.array(image.shape[1::-1])
    first = np.clip(np.floor(near - 2 * density), 0, limit).astype(int)
    last = np.clip(np.ceil(far + 2 * density), 0, limit).astype(int)
    fill = np.broadcast_to(np.asarray(fill, np.float32), image.shape[2:])
    if (last <= first).any():
        return np.broadcast_to(fill, (*size, image.shape[2])).astype(image.dtype)
    smaller = tuple(np.maximum(np.rint((last - first) / density), 1).astype(int)[::-1].tolist())
    source = resize_crop(image, (*first.tolist(), *last.tolist()), smaller, interpolation)
    # For the centre of every view pixel: its place in the piece, in coordinates from -1 to 1.
    y, x = ((np.arange(n) + 0.5) / n for n in size)
    x, y = np.meshgrid(x, y)
    points = np.stack([x, y, np.ones_like(x)], -1) @ np.reshape(matrix, (3, 3)).T
    points = corner + points[..., :2] / points[..., 2:] * side
    grid = torch.from_numpy(((points - first) / (last - first) * 2 - 1).astype(np.float32))[None]
    planes = torch.from_numpy(source.astype(np.float32) - fill)[None].permute(0, 3, 1, 2)
    read = F.grid_sample(planes, grid, 'bilinear', padding_mode='zeros', align_corners=False)
    view = read[0].permute(1, 2, 0).numpy() + fill
    if image.dtype != np.float32:
        view = np.rint(view).clip(0, np.iinfo(image.dtype).max)
    return np.ascontiguousarray(view.astype(image.dtype))
