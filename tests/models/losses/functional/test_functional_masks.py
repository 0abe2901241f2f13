"""DetCon's loss against a naive form, its closed forms, its gradients, and its objective."""

import math

import pytest
import torch

from densecl.models.losses import MaskContrast
from densecl.models.losses.functional import mask_contrast, mask_repeats

B, K, C, T = 3, 4, 5, 0.1


def drawn(seed=0, ids=6):
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(3, B, K, C, dtype=torch.float64, generator=generator)
    numbers = torch.randint(0, ids, (2, B, K), generator=generator)
    return [*vectors, *numbers]


def naive(query, keys, own, query_ids, key_ids, temperature):
    """Cross entropy with labels of 1 / positives, mask by mask; vectors of length 1."""
    query, keys, own = (x / x.norm(dim=-1, keepdim=True) for x in (query, keys, own))
    total = 0.0
    for b in range(B):
        for i in range(K):
            logits, labels = [], []
            for u in range(B):
                for j in range(K):
                    logits.append(query[b, i] @ keys[u, j] / temperature)
                    labels.append(float(u == b and key_ids[u, j] == query_ids[b, i]))
                    if not (u == b and query_ids[u, j] == query_ids[b, i]):
                        logits.append(query[b, i] @ own[u, j] / temperature)
                        labels.append(0.0)
            labels = torch.tensor(labels, dtype=torch.float64)
            if labels.sum():
                log_shares = torch.stack(logits).log_softmax(0)
                weight = 1 / int((query_ids[b] == query_ids[b, i]).sum())
                total = total - weight * (labels / labels.sum() * log_shares).sum()
    return total / (B * K)


@pytest.mark.parametrize('ids', [1, 2, 6, 30])
@pytest.mark.parametrize('seed', range(3))
def test_equals_the_naive_form(seed, ids):
    inputs = drawn(seed, ids)
    want = torch.as_tensor(naive(*inputs, T), dtype=torch.float64)
    torch.testing.assert_close(mask_contrast(*inputs, T), want, rtol=1e-12, atol=1e-12)


def test_gradients():
    *vectors, query_ids, key_ids = drawn(ids=3)
    vectors = [x.requires_grad_() for x in vectors]
    assert torch.autograd.gradcheck(
        lambda *x: mask_contrast(*x, query_ids, key_ids, 0.5), vectors, atol=1e-7
    )


def test_alike_vectors_give_the_number_of_candidates():
    """All cosines are 1: each term is the log of how many candidates a mask has."""
    ones = torch.ones(2, 3, C, dtype=torch.float64)
    ids = torch.tensor([[0, 1, 2], [4, 4, 4]])
    # 12 vectors; without the mask itself 11, without three of the same 9, each of which weighs a third.
    want = (3 * math.log(11) + math.log(9)) / 6
    assert mask_contrast(ones, ones, ones, ids, ids, T).item() == pytest.approx(want, rel=1e-12)


def test_masks_that_one_view_alone_shows_count_nothing():
    *vectors, query_ids, _ = drawn()
    vectors = [x.requires_grad_() for x in vectors]
    loss = mask_contrast(*vectors, query_ids, query_ids + 10, T)
    assert loss.item() == 0
    for gradient in torch.autograd.grad(loss, vectors):
        assert (gradient == 0).all()


def test_order_of_images_and_of_masks_does_not_matter():
    inputs = drawn(ids=3)
    order = torch.tensor([2, 0, 1])
    masks = torch.tensor([3, 1, 0, 2])
    want = mask_contrast(*inputs, T)
    got = mask_contrast(*(x[order] for x in inputs), T)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=0)
    query, keys, own, query_ids, key_ids = inputs
    got = mask_contrast(query, keys[:, masks], own, query_ids, key_ids[:, masks], T)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=0)


def test_a_mask_drawn_twice_weighs_as_one():
    """Each mask twice in both views: as if once, but for twice as many other candidates."""
    generator = torch.Generator().manual_seed(0)
    once = torch.randn(3, 1, 2, C, dtype=torch.float64, generator=generator)
    ids = torch.tensor([[0, 1]])
    twice = once.repeat_interleave(2, 2)
    got = mask_contrast(*twice, *[ids.repeat_interleave(2, 1)] * 2, T)
    query, keys, own = (x / x.norm(dim=-1, keepdim=True) for x in once[:, 0])
    total = 0
    for i in (0, 1):
        logits = torch.stack([query[i] @ keys[i], query[i] @ keys[1 - i], query[i] @ own[1 - i]]) / T
        total += torch.logsumexp(torch.cat([logits, logits]), 0) - logits[0]
    torch.testing.assert_close(got, total / 4, rtol=1e-12, atol=0)
    assert mask_repeats(torch.tensor([[5, 5, 1]])).tolist() == [[2, 2, 1]]


def test_half_precision_inputs_are_scored_in_float32():
    inputs = drawn()
    halves = [x.bfloat16() for x in inputs[:3]]
    with torch.autocast('cpu', dtype=torch.bfloat16):
        got = mask_contrast(*halves, *inputs[3:], T)
    want = mask_contrast(*(x.double() for x in halves), *inputs[3:], T)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=1e-6)


def test_the_objective_and_what_it_logs():
    inputs = drawn(ids=4)
    objective = MaskContrast(temperature=T)
    loss, logged = objective(*inputs)
    torch.testing.assert_close(loss, mask_contrast(*inputs, T), rtol=0, atol=0)
    query, keys, _, query_ids, key_ids = inputs
    cosines = [
        torch.cosine_similarity(query[b, i], keys[b, j], dim=0)
        for b in range(B)
        for i in range(K)
        for j in range(K)
        if query_ids[b, i] == key_ids[b, j]
    ]
    assert logged['pos_sim'].item() == pytest.approx(torch.stack(cosines).mean().item())
    held = [query_ids[b, i] in key_ids[b] for b in range(B) for i in range(K)]
    assert logged['shared'].item() == pytest.approx(sum(held) / len(held))
    weights = [
        (query_ids[b, i] in key_ids[b]) / int((query_ids[b] == query_ids[b, i]).sum())
        for b in range(B)
        for i in range(K)
    ]
    assert logged['per_mask'].item() == pytest.approx(loss.item() * B * K / sum(weights))
    distinct = sum(len(set(row.tolist())) for row in query_ids) / B
    assert logged['distinct'].item() == pytest.approx(distinct)
