from collections.abc import Sequence
from typing import Literal

import pytest
from torch import nn

from densecl.signatures import accepted, fits, nearest


class Base(nn.Module):
    def __init__(self, size: int, kind: str = 'a', **kwargs) -> None:
        super().__init__(**kwargs)


class Passing(Base):
    def __init__(self, *args, rate: float = 1.0, **kwargs) -> None:
        super().__init__(*args, **kwargs)


class Given(Base):
    def __init__(self, **kwargs) -> None:
        super().__init__(3, **kwargs)


class Named(Base):
    def __init__(self, size: int, **kwargs) -> None:
        super().__init__(size=size, kind='b', **kwargs)


class Elsewhere(Base):
    def __init__(self, size: int, **kwargs) -> None:
        super().__init__(size)
        self.made = dict(**kwargs)


@pytest.mark.parametrize(
    'cls, names, needed, anything',
    [
        (Base, {'size', 'kind'}, ['size'], False),
        (Passing, {'rate', 'size', 'kind'}, ['size'], False),
        (Given, {'kind'}, [], False),
        (Named, {'size'}, ['size'], False),
        (Elsewhere, {'size'}, ['size'], True),
        (nn.Identity, set(), [], True),
        (nn.Embedding.forward, {'self', 'input'}, ['self', 'input'], False),
    ],
)  # fmt: skip
def test_what_classes_take(cls, names, needed, anything):
    taken = accepted(cls)
    assert (set(taken.parameters), taken.missing(()), taken.open) == (names, needed, anything)


@pytest.mark.parametrize(
    'value, hint, fitting',
    [
        (1, float, True), (True, int, False), (1e9, int, True), (1.5, int, False), ('x', float, False),
        (float('inf'), int, False), (1, bool, True), (2, bool, False),
        (None, int | None, True),
        ([1, 2], tuple[int, int], True), ([1, 2, 3], tuple[int, int], False), (5, Sequence[int], False),
        ('ab', Sequence[str], False), (['a', 1], Sequence[str], False), ({'a': 1}, dict[str, int], True),
        ({'type': 'X'}, nn.Module | None, True), ('X', nn.Module, True), ('a', Literal['a', 'b'], True),
        ('c', Literal['a', 'b'], False), (object(), 'Unknown', True), ((), Sequence[int], True),
    ],
)  # fmt: skip
def test_whether_a_value_fits(value, hint, fitting):
    assert fits(value, hint) is fitting


def test_nearest_name():
    names = ['matching', 'Cells', 'InfoNCE']
    assert [nearest(n, names) for n in ('matchin', 'cells', 'infonc', 'zzz')] == [
        'matching',
        'Cells',
        'InfoNCE',
        None,
    ]
