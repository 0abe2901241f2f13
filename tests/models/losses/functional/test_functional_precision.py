"""What holds for all objectives: float32 or better, and nothing but finite numbers."""

import pytest
import torch

from densecl.models.losses import functional as L

LABELS = torch.tensor([0, 1, 2, 0, 1, 5])
SHARES = torch.eye(3).repeat(1, 2, 1)
CODES = torch.full((6, 4), 0.25)
MASKS = torch.tensor([[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 1]], dtype=torch.bool)

# Two views (6, 4) and a temperature (or what plays its part) to a scalar.
LOSSES = {
    'info_nce': lambda a, b, t: L.info_nce(a[:2], b[:2], b[2:], t),
    'tiled_info_nce': lambda a, b, t: L.tiled_info_nce(a[:2], b[:2], b[2:], t, 3),
    'nt_xent': L.nt_xent,
    'moco_v3': lambda a, b, t: L.moco_v3(a, b, a, b, t),
    'direct_clr': lambda a, b, t: L.direct_clr(a, b, 3, t),
    'negative_cosine': lambda a, b, t: L.negative_cosine(a, b),
    'triplet_margin': lambda a, b, t: L.triplet_margin(a, b, b.roll(1, 0), t),
    'swapped_prediction': lambda a, b, t: L.swapped_prediction(a, b, CODES, CODES, t),
    'self_distillation': lambda a, b, t: L.self_distillation([a, b], [b, a], b[0], t, t),
    'sup_con': lambda a, b, t: L.sup_con(a, LABELS, t),
    'sup_con_in': lambda a, b, t: L.sup_con(a, LABELS, t, form='in'),
    'sincere': lambda a, b, t: L.sincere(a, LABELS, t),
    'decoupled': L.decoupled,
    'decoupled_weighted': lambda a, b, t: L.decoupled(a, b, t, sigma=t),
    'debiased': lambda a, b, t: L.debiased_nt_xent(a, b, t, 0.1),
    'hard': lambda a, b, t: L.hard_nt_xent(a, b, t, 0.1, 1.0),
    'barlow_twins': L.barlow_twins,
    'vicreg': lambda a, b, t: L.vicreg(a, b, 25, 25, t),
    'masked_token_loss': lambda a, b, t: L.masked_token_loss(a, CODES, MASKS, t),
    'gram_loss': lambda a, b, t: L.gram_loss(a[None], b[None]),
    'patch_kernel_alignment': lambda a, b, t: L.patch_kernel_alignment(a[None], b[None]),
    'similarity_distillation': lambda a, b, t: L.similarity_distillation(a[None], b[None], t),
    'queue_distillation': lambda a, b, t: L.queue_distillation(a, b, b, t),
    'neco_loss': lambda a, b, t: L.neco_loss(*(x.T[None, :, :, None] for x in (a, b, b.flip(0))), 1 / t, 9.0),
    'in_context': lambda a, b, t: L.in_context(a[None], b[None], SHARES, SHARES.flip(1), t),
    'koleo': lambda a, b, t: L.koleo(torch.cat([a, b])),
}


@pytest.fixture(params=LOSSES)
def loss(request):
    return LOSSES[request.param]


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(loss, draw, dtype):
    half = [x.to(dtype).requires_grad_() for x in draw((6, 4), (6, 4))]
    value = loss(*half, 0.2)
    assert value.dtype == torch.float32
    expected = loss(*(x.detach().float() for x in half), 0.2)
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-6)
    value.backward()
    assert half[0].grad.dtype == dtype
    assert torch.isfinite(half[0].grad).all()


def test_autocast_changes_neither_value_nor_gradient(loss, draw):
    outside, inside = ([x.float().requires_grad_() for x in draw((6, 4), (6, 4))] for _ in 'ab')
    expected = loss(*outside, 0.2)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        value = loss(*inside, 0.2)
    assert torch.equal(value, expected)
    value.backward()
    expected.backward()
    assert torch.equal(inside[0].grad, outside[0].grad)


@pytest.mark.parametrize('temperature', [1e-4, 1e-2, 1e4])
@pytest.mark.parametrize('kind', ['random', 'equal', 'opposite', 'collapsed', 'zero'])
def test_extreme_temperatures_and_inputs_give_finite_numbers(loss, draw, temperature, kind):
    view1, view2 = (x.float() for x in draw((6, 4), (6, 4)))
    if kind == 'equal':
        view2 = view1.clone()
    elif kind == 'opposite':
        view2 = -view1
    elif kind == 'collapsed':
        view1 = view2 = torch.ones(6, 4)
    elif kind == 'zero':
        view1, view2 = torch.zeros(6, 4), torch.zeros(6, 4)
    views = [view1.clone().requires_grad_(), view2.clone().requires_grad_()]
    value = loss(*views, temperature)
    value.backward()
    assert torch.isfinite(value)
    for x in views:
        assert x.grad is None or torch.isfinite(x.grad).all()


@pytest.mark.parametrize(
    'name',
    ['nt_xent', 'moco_v3', 'direct_clr', 'sup_con', 'sup_con_in', 'sincere', 'decoupled', 'debiased', 'hard'],
)
def test_no_similarity_matrix_is_kept_for_the_backward_pass(monkeypatch, draw, name):
    monkeypatch.setitem(globals(), 'LABELS', torch.arange(300) % 7)
    views = [x.requires_grad_() for x in draw((300, 4), (300, 4))]
    sizes = []

    def note(x):
        sizes.append(x.numel())
        return x

    with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
        LOSSES[name](*views, 0.2)
    assert 0 < max(sizes) <= 600 * 4


def test_arguments_may_be_given_by_name(draw):
    view1, view2 = draw((6, 4), (6, 4))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        named = L.nt_xent(view1=view1, view2=view2, temperature=0.2)
    assert torch.equal(named, L.nt_xent(view1, view2, 0.2))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        named = L.self_distillation(
            student=[view1, view2],
            teacher=[view1, view2],
            center=view1[0],
            student_temperature=0.1,
            teacher_temperature=0.04,
        )
    assert torch.isfinite(named)


def test_every_public_name_exists():
    assert sorted(set(L.__all__)) == L.__all__
    assert all(hasattr(L, name) for name in L.__all__)
