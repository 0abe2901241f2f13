"""Reports the result of a load, key by key."""

from dataclasses import dataclass, field


@dataclass
class KeyReport:
    """Which of a backbone's tensors a file filled.

    Batch counters (``num_batches_tracked``) are copied if they exist, but not counted.

    Attributes:
        source: the file.
        prefix: prefix of the backbone's names in the file.
        branch: ``online`` or ``target``.
        matched: names whose tensor was copied.
        missing: names of the backbone that the file lacks.
        unexpected: names in the file, under the same prefix, that the backbone lacks.
        mismatched: name -> (shape in the file, shape in the backbone).
        resized: ``pos_embed 14x14 -> 32x32`` if the position embedding was interpolated (counts as matched).
        inflated: (3, 4) if the stem was inflated from 3 to 4 channels (counts as matched), or None.
        stem: names of the inflated stem's parameters; train these first.
        neck_matched, rpn_matched, box_head_matched: names of copied tensors of the neck, of the RPN, and of
            the box head's shared layers (and of its regressor, if it is class-agnostic in the file).
        neck_total, rpn_total, box_head_total: numbers of such tensors in the model; 0 if the file has no such
            part.
        images: differences of the image normalisation, with the settings to change.
        warnings: these differences, and other warnings.
    """

    source: str
    prefix: str = ''
    branch: str = 'online'
    matched: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: dict[str, tuple[tuple, tuple]] = field(default_factory=dict)
    resized: str | None = None
    inflated: tuple[int, int] | None = None
    stem: list[str] = field(default_factory=list)
    neck_matched: list[str] = field(default_factory=list)
    neck_total: int = 0
    rpn_matched: list[str] = field(default_factory=list)
    rpn_total: int = 0
    box_head_matched: list[str] = field(default_factory=list)
    box_head_total: int = 0
    images: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Number of the backbone's tensors, without batch counters."""
        return len(self.matched) + len(self.missing) + len(self.mismatched)

    @property
    def fraction(self) -> float:
        """Share of the backbone's tensors that were copied, 0 to 1."""
        return len(self.matched) / max(self.total, 1)

    def __str__(self) -> str:
        prefix = f"'{self.prefix}'" if self.prefix else 'none'
        shapes = [f'{k} {a} in the file, {b} here' for k, (a, b) in self.mismatched.items()]
        rows = [
            f'{self.source}: {self.branch} branch, prefix {prefix}',
            f'  matched     {len(self.matched):4d} of {self.total} backbone tensors'
            f' ({100 * self.fraction:.1f} %)',
            _row('missing', self.missing),
            _row('unexpected', self.unexpected),
            _row('other shape', shapes),
        ]
        if self.resized:
            rows.append(f'  resized     {self.resized}')
        if self.inflated:
            rows.append('  stem inflated {} -> {}: '.format(*self.inflated) + ', '.join(self.stem))
        for name in ('neck', 'RPN', 'box head'):
            part = name.lower().replace(' ', '_')
            matched, total = getattr(self, f'{part}_matched'), getattr(self, f'{part}_total')
            rows += [f'  {name:<11} {len(matched):4d} of {total} tensors'] if total else []
        return '\n'.join([row for row in rows if row] + [f'  ! {text}' for text in self.warnings])


def _row(name: str, keys: list[str], shown: int = 3) -> str:
    more = ', ...' if len(keys) > shown else ''
    examples = f': {", ".join(keys[:shown])}{more}' if keys else ''
    return f'  {name:<11} {len(keys):4d}{examples}'
