"""Rules that derive settings from photos, machine and hours: pure functions that give a reason.

Own measurements (``docs/continuation.md``) have priority over published recipes, and these over inference.
``docs/command-line.md`` says the source of each rule.
"""

import math

from .conditions import Conditions, Speed
from .record import Setting
from .speed import estimated_speed

#: Number of photos -> steps of a continuation.
_STEPS = {300: 300, 1000: 500, 3000: 1000, 10_000: 2000}
_ANCHOR_EPOCHS, _ANCHOR_STEPS = 16, (350, 3000)
DEFAULT_METHOD = {True: 'anchor', False: 'densecl'}
#: Longest planned run without ``hours``.
DEFAULT_HOURS = 2.0
#: With fewer steps than this after the ramp, a backbone changes too little to be worth a run.
LEAST_STEPS = 50
_USED = 0.9  # share of the hours for steps; guard, checkpoints and start-up take the rest

Found = dict[str, Setting]


def derive(conditions: Conditions) -> Found:
    """All settings that apply, by name, in the order in which they were decided."""
    found: Found = {}
    for rule in RULES:
        setting = rule(conditions, found)
        if setting is not None:
            found[setting.name] = setting
    return found


def advice(found: Found) -> str | None:
    """A message for a user whose hours are too few for a continuation, or None."""
    if 'heads_only' not in found:
        return None
    after = found['steps'].value - found['heads_only'].value - found['ramp'].value
    if after >= LEAST_STEPS:
        return None
    return (
        f'{max(after, 0)} steps are left after the ramp, fewer than {LEAST_STEPS}: use the start itself, '
        'or give more --hours'
    )


def _photos(c: Conditions, found: Found) -> Setting:
    return Setting('photos', c.photos.count, str(c.photos))


def _method(c: Conditions, found: Found) -> Setting:
    if c.method:
        return Setting('method', c.method, 'as you asked')
    name = DEFAULT_METHOD[c.continued]
    if c.continued:
        why = 'the start, which sees more pixels, teaches; from ImageNet weights nothing gained more'
        return Setting('method', name, why)
    return Setting('method', name, 'an image and a dense head, sound on few photos')


def _view_size(c: Conditions, found: Found) -> Setting:
    if c.size:
        return Setting('view_size', c.size, 'as you asked')
    if not c.continued:
        return Setting('view_size', 112, 'the small recipe of the method: 7 x 7 cells')
    limit, side = 224 if c.machine.gpu else 160, c.photos.short_sides[1]
    why = f'what {"a GPU" if c.machine.gpu else "a CPU"} can pay for'
    if side < limit:
        limit, why = side, f'most photos have no more than {side} px'
    value = max(limit // c.patch, math.ceil(64 / c.patch)) * c.patch
    return Setting('view_size', value, why if c.patch == 16 else f'{why}, in whole patches of {c.patch} px')


def _crop_area(c: Conditions, found: Found) -> Setting | None:
    if not c.continued:
        return None
    whole = round(found['view_size'].value / math.sqrt(0.425))
    return Setting(
        'crop_area', (0.25, 0.6), f'things look as large as in a photo of {whole} px that is used whole'
    )


def _batch(c: Conditions, found: Found) -> Setting:
    n = c.photos.count
    value, why = (
        (64, 'the small recipe of the method')
        if not c.continued
        else (16, 'many small steps from few photos')
    )
    if c.continued and c.machine.gpu and n >= 3000:
        value, why = 64, 'a GPU, and 3,000 photos or more'
    if n < value:
        return Setting('batch', 2 ** int(math.log2(n)), f'the largest power of two within {n} photos')
    return Setting('batch', value, why)


def _precision(c: Conditions, found: Found) -> Setting:
    if c.machine.bf16:
        return Setting('precision', 'bf16', 'this machine multiplies bfloat16 faster than float32')
    return Setting('precision', 'float32', 'this machine has no fast bfloat16')


def _speed(c: Conditions, found: Found) -> Setting:
    known: Speed = c.speed or estimated_speed(c, found['view_size'].value)
    return Setting('photos_per_s', round(known.photos_per_s, 2), known.source)


def _steps(c: Conditions, found: Found) -> Setting:
    n, size = c.photos.count, found['batch'].value
    paid = (c.hours or DEFAULT_HOURS) * 3600 * _USED * found['photos_per_s'].value / size
    paid = max(int(paid), 1)
    hours = f'{c.hours:g} hours' if c.hours else f'{DEFAULT_HOURS:g} hours, the most without --hours,'
    if not c.continued:
        wanted = max(200 * n // size, 1)
        why = 'random weights: 200 epochs, after which small sets have little left to give'
    else:
        wanted, why = (
            round(table_steps(n)),
            f'{n:,} photos: gains come early, and longer runs can lose them again',
        )
        if found['method'].value == 'anchor':
            least, most = _ANCHOR_STEPS
            wanted = min(max(_ANCHOR_EPOCHS * n // size, least), most)
            why = f'{_ANCHOR_EPOCHS} epochs, within {least} and {most:,} steps; 352 were measured'
        wanted *= 2 if c.hours else 1
    if paid < wanted:
        return Setting('steps', paid, f'{hours} pay for these; {wanted:,} would be taken')
    return Setting('steps', wanted, why)


def _heads_only(c: Conditions, found: Found) -> Setting | None:
    if not c.continued:
        return None
    if found['method'].value == 'anchor':
        return Setting('heads_only', 0, 'the anchor has no new head')
    steps = found['steps'].value
    wanted = min(max(20, steps // 20), 100)
    if steps // 3 < wanted:
        return Setting('heads_only', steps // 3, f'a third of the steps; {wanted} would be safer')
    return Setting('heads_only', wanted, 'the backbone waits until the new heads give it a direction')


def _ramp(c: Conditions, found: Found) -> Setting | None:
    if not c.continued:
        return None
    value = max(found['heads_only'].value // 2, min(10, found['steps'].value // 6))
    return Setting('ramp', value, 'then the rate of the backbone rises over these steps')


def _lr(c: Conditions, found: Found) -> Setting:
    size = found['batch'].value
    if not c.continued:
        why = f'the small recipe of the method, for {size} photos'
        return Setting('lr', round(c.recipe_lr * size / 64, 6), why)
    if c.transformer:
        return Setting('lr', 1e-3, 'AdamW, of the heads')
    value = round(2e-3 * math.sqrt(size / 16), 6)
    grows = '' if size == 16 else ', and it grows with the square root of the batch'
    return Setting('lr', value, f'AdamW: 0.002 was best for 16 photos a step{grows}')


def _backbone_lr(c: Conditions, found: Found) -> Setting | None:
    if not c.continued:
        return None
    if c.transformer:
        return Setting(
            'backbone_lr', 2e-5, 'of the deepest layer: what other projects take to go on with transformers'
        )
    return Setting(
        'backbone_lr', found['lr'].value, 'of the deepest layer: as of the heads, since an anchor holds it'
    )


def _layer_decay(c: Conditions, found: Found) -> Setting | None:
    if not c.continued:
        return None
    value = 0.9 if c.transformer else 0.8
    return Setting(
        'layer_decay', value, 'a factor for each layer towards the stem: shallow layers serve any photo'
    )


def _frozen_layers(c: Conditions, found: Found) -> Setting | None:
    if not c.continued or c.transformer:
        return None
    if c.photos.channels != 3:
        return Setting(
            'frozen_layers', 0, f'the stem was made for 3 channels and has to learn {c.photos.channels}'
        )
    return Setting('frozen_layers', 1, f'of {c.layers}: the stem stays as it is')


def _zero_init_residual(c: Conditions, found: Found) -> Setting | None:
    if c.continued or 'branches' not in c.parts:
        return None
    why = 'from residual branches at 0 MoCo v2 and DenseCL gave a better FCN (docs/results.md)'
    return Setting('zero_init_residual', True, why)


def _queue(c: Conditions, found: Found) -> Setting | None:
    if 'queue' not in c.parts:
        return None
    n = c.photos.count
    value = min(2 ** int(math.log2(0.42 * n)), 65536)
    if value < 256:
        return Setting('queue', 0, f'{n} photos do not fill one: other photos of the batch are the negatives')
    return Setting('queue', value, 'a quarter to four tenths of the photos, so that no photo is in it twice')


def _prototypes(c: Conditions, found: Found) -> Setting | None:
    if 'prototypes' not in c.parts:
        return None
    n = c.photos.count
    value = min(max(2 ** round(math.log2(4 * math.sqrt(n))), 64), 65536)
    return Setting('prototypes', value, f'about four times the square root of {n:,} photos')


def _momentum(c: Conditions, found: Found) -> Setting | None:
    n = c.photos.count
    if not c.continued or 'momentum' not in c.parts:
        return None
    value = (0.99, 0.999) if n < 2000 else (0.99, 1.0) if n < 6000 else (0.996, 1.0)
    return Setting('momentum', value, 'short runs need a target that follows faster')


def _workers(c: Conditions, found: Found) -> Setting:
    if c.machine.gpu:
        return Setting('workers', max(min(c.machine.cores - 1, 16), 1), 'all cores but one feed the GPU')
    value = 1 if c.machine.cores <= 4 else 2
    return Setting('workers', value, 'a core reads photos several times faster than it trains on them')


def _checkpoint_interval(c: Conditions, found: Found) -> Setting:
    value = max(found['steps'].value // 10, 25)
    return Setting('checkpoint_interval', value, 'ten times a run, so that the best can be kept')


#: The rules in their order; a rule sees the decisions of those before.
RULES = (
    _photos,
    _method,
    _view_size,
    _crop_area,
    _batch,
    _precision,
    _speed,
    _steps,
    _heads_only,
    _ramp,
    _lr,
    _backbone_lr,
    _layer_decay,
    _frozen_layers,
    _zero_init_residual,
    _queue,
    _prototypes,
    _momentum,
    _workers,
    _checkpoint_interval,
)


def table_steps(n: int) -> float:
    """Steps for n photos, by linear interpolation between the rows of the table in log-log scale.

    Below the first row its value is used; above the last row the slope of the last two, up to 100,000 photos.
    """
    rows = [(math.log(photos), math.log(steps)) for photos, steps in _STEPS.items()]
    x = min(max(math.log(n), rows[0][0]), math.log(100_000))
    row = next((i for i in range(1, len(rows)) if x <= rows[i][0]), len(rows) - 1)
    (x0, y0), (x1, y1) = rows[row - 1 : row + 1]
    return math.exp(y0 + (y1 - y0) * (x - x0) / (x1 - x0))
