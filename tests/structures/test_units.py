"""Units that are chosen keep all that has a row for each of them."""

from dataclasses import fields

import torch

from densecl.structures import Units


def test_every_field_with_a_row_a_unit_is_chosen():
    rows = torch.arange(12.0).reshape(2, 6)
    values = dict(
        vectors=rows[..., None],
        features=rows[..., None],
        embeddings=rows[..., None],
        codes=rows[..., None],
        ids=rows.long(),
        cells=rows.long(),
        labels=rows.long(),
        valid=rows > 2,
    )
    assert values.keys() <= {field.name for field in fields(Units)}
    chosen = torch.tensor([[4, 1], [0, 0]])
    taken = Units(**values).take(chosen)
    wanted = torch.tensor([[4.0, 1], [6, 6]])
    for name in values.keys() - {'valid'}:
        assert torch.equal(getattr(taken, name).reshape(2, 2).float(), wanted), name
    assert torch.equal(taken.valid, wanted > 2)
