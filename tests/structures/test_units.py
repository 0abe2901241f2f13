"""Units that are chosen keep all that has a row for each of them."""

from dataclasses import fields

import torch

from densecl.structures import Units, units


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


def test_nothing_is_gathered_twice(monkeypatch):
    sent = []
    monkeypatch.setattr(units, 'all_gather', lambda x: sent.append(1) or x)
    monkeypatch.setattr(units, 'all_gather_together', lambda each: sent.append(len(each)) or each)
    one = Units(torch.ones(2, 1, 3), pooled=torch.ones(2, 3))
    one.of_all('vectors')
    Units.gather([(one, 'vectors'), (one, 'pooled')])
    assert one.of_all('pooled').shape == (2, 3) and sent == [1, 1]


def test_nothing_detached_has_a_gradient():
    x = torch.ones(2, 3, requires_grad=True)
    each = dict(predicted=x[:, None], pooled=x, pooled_predicted=2 * x, embeddings=x[:, None])
    found = Units(x[:, None], **each).detach()
    assert not any(getattr(found, name).requires_grad for name in ('vectors', *each))


def test_every_field_that_was_kept_is_joined_and_missing_units_are_none():
    """The second batch has one unit less an image; what pads it has no id and is not valid."""
    parts = []
    for rows in (3, 2):
        more = dict(valid=torch.ones(2, rows, dtype=torch.bool), ids=torch.arange(2 * rows).view(2, rows))
        parts.append(
            Units(torch.ones(2, rows, 4), pooled=torch.ones(2, 4), features=torch.ones(2, rows, 5), **more)
        )
    kept = [part.kept('ids') for part in parts]
    joined = Units.joined(kept)
    assert joined.ids.tolist() == [[0, 1, 2], [3, 4, 5], [0, 1, -1], [2, 3, -1]]
    assert joined.valid.sum(1).tolist() == [3, 3, 2, 2]
    assert joined.vectors.shape == (4, 3, 4) and joined.pooled.shape == (4, 4)
    assert joined.vectors[2:, 2].abs().sum() == 0
    assert joined.features is None  # nobody asked for them
