"""Curves as SVG: axes with round ticks, a colour and a dash pattern for each series."""

import math
from collections.abc import Sequence
from html import escape

Points = Sequence[tuple[float, float]]
#: Dash patterns in px. A series has one of them, and one of the page's colours ``--c0`` to ``--c6``.
DASHES = ('none', '7 4', '2.5 3', '9 3 2 3', '14 4', '4 2 1 2 1 2', '1 5')
_WIDTH, _HEIGHT = 340, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 10, 10, 42


def chart(series: dict[str, Points], label: str, across: str, band: tuple[float, float] | None = None) -> str:
    """An SVG of 340 x 210 units that scales with its box.

    Args:
        series: name -> (x, y), x ascending; the curve has a gap if y is NaN or infinite.
        label: of the vertical axis, with its unit.
        across: of the horizontal axis, with its unit.
        band: lower and upper y of a shaded range.

    Returns:
        The SVG; empty without a finite value.
    """
    thinned = {name: thin(points) for name, points in series.items()}
    finite = [(x, y) for points in thinned.values() for x, y in points if math.isfinite(y)]
    if not finite:
        return ''
    ys = [y for _, y in finite] + list(band or ())
    xs = ticks(min(x for x, _ in finite), max(x for x, _ in finite), 5, whole=True)
    ups = ticks(min(ys), max(ys), 4)
    low_x, high_x = min(x for x, _ in finite), max(x for x, _ in finite)
    inside = [x for x in xs if low_x <= x <= high_x]
    if len(inside) > 1:
        xs = inside
    else:
        low_x, high_x = xs[0], xs[-1]

    def place(x: float, y: float) -> tuple[float, float]:
        right = (x - low_x) / ((high_x - low_x) or 1) * (_WIDTH - _LEFT - _RIGHT)
        up = (y - ups[0]) / (ups[-1] - ups[0]) * (_HEIGHT - _TOP - _BOTTOM)
        return round(_LEFT + right, 1), round(_HEIGHT - _BOTTOM - up, 1)

    parts = [_grid(xs, ups, place, label, across)]
    if band:
        (left, top), (right, bottom) = place(low_x, band[1]), place(high_x, band[0])
        box = f'x="{left}" y="{top}" width="{right - left:.1f}" height="{max(bottom - top, 1):.1f}"'
        parts.append(f'<rect class="band" {box}/>')
    parts += [_curve(points, place, number) for number, points in enumerate(thinned.values())]
    names = escape(f'{label} over {across}')
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{names}">{"".join(parts)}</svg>'


def swatch(number: int) -> str:
    """A short piece of the line of a series, for a legend."""
    return f'<svg class="swatch" viewBox="0 0 34 8"><path d="M0 4H34" {_look(number)}/></svg>'


def thin(points: Points, most: int = 300) -> list[tuple[float, float]]:
    """Reduce the series to at most ``most`` points: from equal parts, the points with smallest and largest y.

    A part with a NaN or an infinite y keeps one such point, so the gap stays visible.
    """
    if len(points) <= most:
        return list(points)
    size, kept = math.ceil(len(points) / (most // 3)), []
    for begin in range(0, len(points), size):
        part = range(begin, min(begin + size, len(points)))
        good = [i for i in part if math.isfinite(points[i][1])]
        gaps = [i for i in part if not math.isfinite(points[i][1])]
        ends = [pick(good, key=lambda i: points[i][1]) for pick in (min, max) if good]
        kept += sorted({*ends, *gaps[:1]})
    return [points[i] for i in kept]


def ticks(low: float, high: float, about: int, whole: bool = False) -> list[float]:
    """Round numbers from below ``low`` to above ``high``, with steps of 1, 2 or 5 times a power of ten.

    A range below a 10,000th of the values is treated as zero, so that noise is not enlarged.

    Args:
        low, high: ends of the data.
        about: approximate number of steps.
        whole: only integers.
    """
    if high - low <= 1e-4 * max(abs(low), abs(high)):
        room = abs(high) * 0.1 or 1
        low, high = low - room, high + room
    step = 10 ** math.floor(math.log10((high - low) / about))
    step *= next(f for f in (1, 2, 5, 10) if step * f * about >= (high - low) * 0.999)
    step = max(step, 1) if whole else step
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


def tick_label(value: float, step: float) -> str:
    """A tick as text: with the step's decimals, or with a power of ten if it is very small or large."""
    power = math.floor(math.log10(step) + 1e-9)
    if not -4 < power < 6 and value:
        return f'{value / 10**power:.0f}e{power}'.replace('-', '−')
    return f'{value:,.{max(0, -power) if value else 0}f}'.replace('-', '−')


def _look(number: int) -> str:
    dash = DASHES[(number + number // len(DASHES)) % len(DASHES)]  # 49 pairs of colour and dash
    more = f' stroke-dasharray="{dash}"' if dash != 'none' else ''
    return f'class="curve" style="stroke:var(--c{number % len(DASHES)})"{more}'


def _curve(points: Points, place, number: int) -> str:
    """A path with gaps; if there are few points, they are marked."""
    path, pen_up = [], True
    good = [place(x, y) for x, y in points if math.isfinite(y)]
    for x, y in points:
        if math.isfinite(y):
            path.append('{}{} {}'.format('M' if pen_up else 'L', *place(x, y)))
        pen_up = not math.isfinite(y)
    marks = good if len(good) <= 24 else []
    colour = f'style="fill:var(--c{number % len(DASHES)})"'
    dots = ''.join(f'<circle cx="{x}" cy="{y}" r="2.6" {colour}/>' for x, y in marks)
    return f'<path d="{"".join(path)}" {_look(number)}/>{dots}'


def _grid(xs: list[float], ups: list[float], place, label: str, across: str) -> str:
    left, right, floor = _LEFT, _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    parts = []
    for y in ups:
        at = place(xs[0], y)[1]
        parts.append(f'<path class="grid" d="M{left} {at}H{right}"/>')
        parts.append(
            f'<text x="{left - 7}" y="{at + 4}" text-anchor="end">{tick_label(y, ups[1] - ups[0])}</text>'
        )
    for x in xs:
        at = place(x, ups[0])[0]
        anchor = 'end' if at > right - 14 else 'middle'
        parts.append(f'<path class="axis" d="M{at} {floor}v4"/>')
        parts.append(
            f'<text x="{at}" y="{floor + 17}" text-anchor="{anchor}">{tick_label(x, xs[1] - xs[0])}</text>'
        )
    middle = (_TOP + floor) / 2
    parts.append(f'<path class="axis" d="M{left} {floor}H{right}"/>')
    parts.append(
        f'<text x="{(left + right) / 2}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(across)}</text>'
    )
    turned = f'transform="rotate(-90 11 {middle})" text-anchor="middle"'
    parts.append(f'<text x="11" y="{middle}" {turned}>{escape(label)}</text>')
    return ''.join(parts)
