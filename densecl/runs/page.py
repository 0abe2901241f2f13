"""One HTML page of a run, with everything in it."""

import base64
import html
import json
from pathlib import Path
from typing import Any

from densecl.settings.record import show_value

from .run import Run

_STYLE = (
    'body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}'
    'table{border-collapse:collapse}td,th{padding:.2em .8em;text-align:left;border-bottom:1px solid #ddd;'
    'vertical-align:top}svg,img{max-width:100%}pre{background:#f5f5f5;padding:1em;overflow:auto}'
)
_PICTURES = 24  # at most; a page of a hundred megabytes opens nowhere


def write_page(run: Run, out: Path | None = None) -> Path:
    """Write the page of a run: guard, losses, settings with reasons, manifest, pictures, config.

    Args:
        run: finished or not.
        out: file; default ``report.html`` in the folder of the run.
    """
    out = out or run.folder / 'report.html'
    scalars = read_scalars(run.folder)
    parts = [
        f'<h1>{html.escape(str(run.folder))}</h1>',
        _section('Guard', _guard(run.guard)),
        _section('Training', ''.join(_chart(name, scalars[name]) for name in shown(scalars))),
        _section('Settings', _table(('setting', 'value', 'reason'), _settings(run))),
        _section('Photos, start, versions', _table(('', ''), _flat(run.manifest))),
        _section('Pictures', _pictures(run.folder)),
        _section('Config', f'<pre>{html.escape(run.config.read_text(encoding="utf-8"))}</pre>'),
    ]
    title = html.escape(run.folder.name)
    head = f'<!doctype html><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
    out.write_text(head + '\n'.join(part for part in parts if part), encoding='utf-8')
    return out


def read_scalars(folder: Path) -> dict[str, list[tuple[float, float]]]:
    """Name -> (iteration, value) of all logs of a run; of an iteration that was repeated the last."""
    found: dict[str, dict[float, float]] = {}
    for path in sorted(folder.glob('*/vis_data/scalars.json')):
        for line in path.read_text(encoding='utf-8').splitlines():
            entry = json.loads(line)
            step = entry.get('iter', entry.get('step'))
            for name, value in entry.items():
                if step is not None and isinstance(value, (int, float)):
                    found.setdefault(name, {})[step] = value
    return {name: sorted(values.items()) for name, values in found.items()}


def shown(scalars: dict[str, Any]) -> list[str]:
    """Losses, quality, and what tells of collapse."""
    ends = ('_std', '_rank', '_miou')
    chosen = [n for n in scalars if n.startswith(('loss', 'guard/')) or n.endswith(ends) or n == 'grad_norm']
    return sorted(chosen, key=lambda name: (not name.startswith('guard/'), not name.startswith('loss'), name))


def _section(title: str, body: str) -> str:
    return f'<h2>{title}</h2>{body}' if body else ''


def _table(head: tuple[str, ...], rows: list[tuple]) -> str:
    def line(cells, tag: str) -> str:
        return '<tr>' + ''.join(f'<{tag}>{html.escape(str(cell))}</{tag}>' for cell in cells) + '</tr>'

    if not rows:
        return ''
    top = line(head, 'th') if any(head) else ''
    return f'<table>{top}{"".join(line(row, "td") for row in rows)}</table>'


def _settings(run: Run) -> list[tuple]:
    return [(s['name'], show_value(s['value']), s['reason']) for s in run.settings]


def _flat(record: dict[str, Any], prefix: str = '') -> list[tuple]:
    rows = []
    for name, value in record.items():
        if name == 'settings':
            continue
        label = f'{prefix}{name}'
        rows += _flat(value, f'{label}.') if isinstance(value, dict) else [(label, value)]
    return rows


def _guard(guard: dict[str, Any] | None) -> str:
    if not guard:
        return ''
    told = f'<p><b>{html.escape(str(guard.get("told", "not finished yet")))}</b></p>'
    rows = [
        (m['name'], m['verdict'], *(f'{v:.2f}' for v in m['miou'].values()), m['sentence'])
        for m in guard.get('measurements', []) + guard.get('averages', [])
    ]
    names = list(guard['measurements'][0]['miou']) if rows else []
    return told + _table(('measured', 'verdict', *(f'{name} mIoU' for name in names), 'figures'), rows)


def _chart(name: str, points: list[tuple[float, float]], width: int = 420, height: int = 130) -> str:
    """A curve as SVG, with its first and last value."""
    points = [(x, y) for x, y in points if y == y and abs(y) != float('inf')]
    if len(points) < 2:
        return ''
    xs, ys = zip(*points, strict=True)
    low, high = min(ys), max(ys)
    across, up = (max(xs) - min(xs)) or 1, (high - low) or 1
    line = ' '.join(
        f'{(x - min(xs)) / across * width:.1f},{height - (y - low) / up * height:.1f}' for x, y in points
    )
    label = f'{html.escape(name)}: {ys[0]:.4g} to {ys[-1]:.4g} (between {low:.4g} and {high:.4g})'
    curve = f'<polyline points="{line}" fill="none" stroke="#1f6feb" stroke-width="1.5"/>'
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return f'<p>{label}<br><svg {size}>{curve}</svg></p>'


def _pictures(folder: Path) -> str:
    kinds = {'.png': 'png', '.jpg': 'jpeg', '.jpeg': 'jpeg'}
    found = [path for path in sorted(folder.rglob('*')) if path.suffix.lower() in kinds]
    tags = []
    for path in found[:_PICTURES]:
        data = base64.b64encode(path.read_bytes()).decode()
        caption = html.escape(str(path.relative_to(folder)))
        tags.append(f'<p>{caption}<br><img src="data:image/{kinds[path.suffix.lower()]};base64,{data}"></p>')
    more = f'<p>and {len(found) - _PICTURES} more in the folder</p>' if len(found) > _PICTURES else ''
    return ''.join(tags) + more
