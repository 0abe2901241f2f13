"""What every rule returns is checked, as tensors of other shapes would be broadcast without a word."""

import pytest
import torch

from densecl.models.matching import Rule
from densecl.registry import MODELS
from densecl.structures import Match, Units

ROWS, KEYS = 4, 5
QUERY, KEY = Units(torch.randn(2, ROWS, 3)), Units(torch.randn(2, KEYS, 3))
INDEX = torch.zeros(2, ROWS, dtype=torch.int64)
TRUE = torch.ones(2, ROWS, dtype=torch.bool)


@MODELS.register_module(force=True)
class Returning(Rule):
    """Returns the match that it is given."""

    def __init__(self, match) -> None:
        super().__init__()
        self.match = match

    def forward(self, query, key, batch):
        return self.match


@pytest.mark.parametrize(
    'match',
    [
        Match(INDEX, valid=TRUE, weight=torch.ones(2, ROWS)),
        Match(mask=torch.ones(2, ROWS, KEYS, dtype=torch.bool)),
        Match(INDEX[:, :2], read=lambda query, key: (query, key)),  # of other units, which it chooses itself
    ],
)
def test_matches_of_the_right_shape_are_taken(match):
    assert Returning(match)(QUERY, KEY, None) is match


@pytest.mark.parametrize(
    ('match', 'said'),
    [
        (INDEX, 'must return a Match with either index or mask, got tensor'),
        (Match(), 'with either index or mask'),
        (Match(INDEX, torch.ones(2, ROWS, KEYS, dtype=torch.bool)), 'with either index or mask'),
        (Match(INDEX[:1]), r'index must be torch.int64 of \(2, 4\), got torch.int64 of \(1, 4\)'),
        (Match(INDEX.int()), r'index must be torch.int64 of \(2, 4\), got torch.int32'),
        (Match(mask=torch.ones(2, ROWS, KEYS)), r'mask must be torch.bool of \(2, 4, 5\), got torch.float32'),
        (Match(mask=torch.ones(1, ROWS, KEYS, dtype=torch.bool)), r'mask must be .* of \(1, 4, 5\)'),
        (Match(INDEX, valid=TRUE[:, :1]), r'valid must be .* got torch.bool of \(2, 1\)'),
        (Match(INDEX, valid=TRUE.float()), 'valid must be torch.bool'),
        (Match(INDEX, weight=torch.ones(2, 1)), r'weight must be a float tensor of \(2, 4\)'),
    ],
)
def test_others_are_refused(match, said):
    with pytest.raises(TypeError, match=f'matching=Returning.* {said}'):
        Returning(match)(QUERY, KEY, None)


def test_a_weight_is_not_lost_in_a_union():
    rule = MODELS.build(dict(type='AnyOf', rules=['SameRow', dict(type='Returning', match=None)]))
    rule.rules[1].match = Match(INDEX, weight=torch.ones(2, ROWS))
    with pytest.raises(TypeError, match='AnyOf: Returning weights or replaces units'):
        rule(QUERY, Units(torch.randn(2, ROWS, 3)), None)
