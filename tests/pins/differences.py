"""Where the numbers of a config differ from those pinned, and where they may."""

from dataclasses import dataclass


@dataclass
class Change:
    """A pinned number that is another one now.

    Attributes:
        configs: beginning of the names of the configs.
        key: what was pinned; ``'*'`` for everything.
        now: the key of today; ``'*'``: the same; None: there is none to compare with.
        why: the reason.
        factor: of the number of today, as a share of the pinned one.
        rounding: largest difference, as a share of the largest number of the key; None: as everywhere.
    """

    configs: str
    key: str
    now: str | None
    why: str
    factor: float = 1.0
    rounding: float | None = None


TERMS = 'each pair has its own diagnostics, under its name'
SHARE = 'share of the query units that have an answer'
CELLS = 'share of the query units that have an answer; it was that of images'
PAIRS = 'mean over queries of the mean of their answers; it was over pairs'
USAGE = 'of each key view; it was of all of them together'
GONE = 'no longer logged'
CHANGES = [
    *(
        Change('detco_', f'log/detco_{what}_{c}', f'log/detco_{what}_g2g_{c}', TERMS)
        for what in ('pos_sim', 'top1')
        for c in ('c2', 'c3', 'c4', 'c5')
    ),
    Change('detcon', 'log/masks_shared', 'log/masks_matched', SHARE),
    Change('detcon', 'log/masks_pos_sim', None, PAIRS),
    Change('detcon', 'log/masks_per_mask', None, GONE),
    Change('detcon', 'log/masks_distinct', None, GONE),
    Change('dino', 'log/image_usage_entropy', None, USAGE),
    Change('swav', 'log/image_usage_entropy', None, USAGE),
    Change('pirl', 'log/image_patch_sim', 'log/image_pos_sim_patches', TERMS),
    Change('pirl', 'log/image_pos_sim', 'log/image_pos_sim_image', TERMS),
    Change('pixcontrast', 'log/pixel_pos_sim', None, PAIRS),
    Change('pixcontrast', 'log/pixel_positives', None, GONE),
    *(Change('pix', f'log/{head}_matched', None, CELLS) for head in ('pixel', 'p2', 'p3', 'p4', 'p5')),
    Change('setsim', 'log/sets_pos_sim', None, PAIRS),
    Change('setsim', 'log/sets_positives', None, GONE),
    Change('setsim', 'log/sets_matched', None, CELLS),
    Change('resim', 'log/p3_inside', 'log/p3_matched', SHARE, rounding=1e-6),
    Change('resim', 'log/p4_inside', 'log/p4_matched', SHARE, rounding=1e-6),
    Change('resim', '*', '*', 'windows come from the data worker, as float32', rounding=3e-6),
    Change('scrl', 'log/regions_overlapping', 'log/regions_matched', SHARE),
    Change('slotcon', 'log/slots_contrast', '*', 'logged without the official factor of 2', factor=0.5),
    Change('slotcon', 'log/slots_cell_entropy', 'log/slots_teacher_entropy_grouping', TERMS),
    Change('slotcon', 'log/slots_usage_entropy', 'log/slots_usage_entropy_grouping', TERMS),
    Change('slotcon', 'log/slots_common', None, GONE),
    Change('slotcon', 'log/slots_no_overlap', None, GONE),
    Change('soco', 'state/norms of heads.objects.predictor', None, 'the predictor runs once a set'),
]


def change_of(config: str, key: str) -> Change:
    """What became of a pinned key; the first entry that fits counts."""
    for change in CHANGES:
        if config.startswith(change.configs) and change.key in (key, '*'):
            return change
    return Change(config, key, '*', '')


def differences(config: str, found: dict, pinned: dict) -> list[str]:
    """What is not as pinned, a line each. Values of the log that are new and no losses are free.

    Rounding is measured against the largest number of a key, the norm for one. Values of the log that are no
    losses may have been computed in float32.
    """
    lines, seen = [], set()
    for key, values in pinned.items():
        change = change_of(config, key)
        name = key if change.now == '*' else change.now
        seen.add(name)
        if name is None:
            continue
        values, got = [change.factor * x for x in values], found.get(name, [])
        rounding = change.rounding or (1e-7 if key.startswith('log/') and 'loss' not in key else 1e-9)
        room = rounding * max(map(abs, values))
        same = len(got) == len(values) and all(
            abs(a - b) <= room for a, b in zip(got, values, strict=True)
        )
        lines += [] if same else [f'{key}: {got}, pinned {values}']
    new = [key for key in found.keys() - seen - pinned.keys() if 'loss' in key or not key.startswith('log/')]
    return lines + [f'{key}: not pinned' for key in sorted(new)]
