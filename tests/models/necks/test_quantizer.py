"""The quantiser against loops in float64: codes, their moving average, k-means at the start, gradients."""

import pytest
import torch
from oracles import quantised

from densecl.models.necks import QuantizedDecoder, VectorQuantizer
from densecl.models.necks.quantizer import code_totals, first_codes, moved_codes, nearest
from densecl.numerics import unit

CHANNELS, CODES, DIM = 6, 5, 3
CONV = dict(type='densecl.ConvMLP', channels=(DIM, 4))


def rows(count=40, seed=0):
    return unit(torch.randn(count, DIM, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))


def built(begun=True, **kwargs):
    """In float64 and in training; random codes are loaded where it has begun."""
    torch.manual_seed(0)
    quantizer = VectorQuantizer(CHANNELS, CODES, DIM, **kwargs).double().train()
    if begun:
        quantizer.load_state_dict({**quantizer.state_dict(), 'codebook': rows(CODES, seed=9)})
    return quantizer


def maps(seed, batch=2):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, CHANNELS, 4, 5, generator=generator, dtype=torch.float64)


def test_functions_are_those_of_loops():
    vectors, codebook = rows(), rows(CODES, seed=1)
    codebook[2] = -unit(vectors.mean(0))  # far from all
    ids = nearest(vectors, codebook)
    assert ids.tolist() == [quantised.nearest_code(v, codebook.tolist()) for v in vectors.tolist()]
    totals = code_totals(vectors, ids, CODES)
    assert totals[:, -1].tolist() == [(ids == k).sum().item() for k in range(CODES)]
    for decay in (0.99, 0.3, 0.0):
        want = quantised.moved(codebook.tolist(), vectors.tolist(), ids.tolist(), decay)
        got = moved_codes(codebook, totals, decay)
        torch.testing.assert_close(got, torch.tensor(want, dtype=torch.float64), rtol=1e-12, atol=1e-14)


def test_a_code_without_vectors_stays():
    vectors, codebook = rows(), rows(CODES, seed=1)
    ids = torch.zeros(len(vectors), dtype=torch.int64)
    got = moved_codes(codebook, code_totals(vectors, ids, CODES), 0.9)
    torch.testing.assert_close(got[1:], codebook[1:], rtol=1e-12, atol=1e-14)
    assert (got[0] - codebook[0]).norm() > 1e-2


def test_nearest_in_tiles(monkeypatch):
    vectors, codebook = rows(), rows(CODES, seed=1)
    want = nearest(vectors, codebook)
    monkeypatch.setattr('densecl.models.necks.quantizer._TILE', 3 * CODES)
    assert torch.equal(nearest(vectors, codebook), want)


@pytest.mark.parametrize('count', [40, 3])
def test_first_codes_are_those_of_kmeans(count):
    """Of fewer vectors than codes some codes are alike, and only the first of these is used."""
    vectors = rows(count)
    want = quantised.kmeans_by_cosine(vectors.tolist(), CODES, 10)
    got = first_codes(vectors, CODES, 10)
    torch.testing.assert_close(got, torch.tensor(want, dtype=torch.float64), rtol=1e-12, atol=1e-14)


def test_the_first_batch_makes_the_codes_once():
    quantizer, images = built(begun=False), maps(0)
    quantizer(images)
    vectors = quantizer.embeddings(images).detach().flatten(0, 2)
    torch.testing.assert_close(quantizer.codebook, first_codes(vectors, CODES, 10))
    begun = quantizer.codebook.clone()
    quantizer(maps(1))
    assert torch.equal(quantizer.codebook, begun)
    later = built()
    begun = later.codebook.clone()
    later(images)
    assert torch.equal(later.codebook, begun)


def test_three_steps():
    """A batch is assigned before the codes move."""
    quantizer = built(decay=0.8)
    codebook, usage = quantizer.codebook.tolist(), [0.0] * CODES
    for step in range(3):
        found = quantizer(maps(step))
        vectors = found.embeddings.flatten(0, 2).tolist()
        ids = [quantised.nearest_code(v, codebook) for v in vectors]
        assert found.ids.flatten().tolist() == ids
        want = torch.tensor([codebook[i] for i in ids], dtype=torch.float64)
        torch.testing.assert_close(found.codes.flatten(0, 2), want, rtol=1e-12, atol=1e-14)
        codebook = quantised.moved(codebook, vectors, ids, 0.8)
        usage = [0.8 * u + 0.2 * ids.count(k) for k, u in enumerate(usage)]
        quantizer.move()
        now = torch.tensor(codebook, dtype=torch.float64)
        torch.testing.assert_close(quantizer.codebook, now, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(quantizer.usage, torch.tensor(usage, dtype=torch.float64))
    shares = torch.tensor(usage, dtype=torch.float64) / sum(usage)
    log = quantizer.log()
    perplexity = torch.distributions.Categorical(shares).perplexity() / CODES
    torch.testing.assert_close(log['perplexity'], perplexity, check_dtype=False)
    assert log['used'] == sum(u > 0 for u in usage) / CODES


def test_parts_of_a_batch_move_the_codes_as_the_whole():
    one, two = built(), built()
    images = maps(0, batch=4)
    one(images)
    for part in images.split(1):
        two(part)
    for quantizer in (one, two):
        quantizer.move()
    torch.testing.assert_close(one.codebook, two.codebook, rtol=0, atol=1e-14)
    torch.testing.assert_close(one.usage, two.usage)


def test_nothing_is_learned_out_of_training_or_without_gradient():
    quantizer = built()
    before = {k: v.clone() for k, v in quantizer.state_dict().items()}
    with torch.no_grad():
        quantizer(maps(0))
    quantizer.eval()(maps(0))
    assert not quantizer.totals.any()
    assert all(torch.equal(v, before[k]) for k, v in quantizer.state_dict().items())
    assert 'totals' not in before and not [n for n, _ in quantizer.named_parameters() if 'code' in n]


def test_codes_that_nobody_wants_are_not_used():
    quantizer = built()
    quantizer.usage.copy_(torch.tensor([1.0, 0.0, 0.004, 0.003, 5.0]))
    assert quantizer.log()['used'] == 3 / 5  # 0.01 / e = 0.0037


def test_the_gradient_of_the_codes_goes_to_the_embeddings():
    quantizer, images = built(), maps(0).requires_grad_()
    weight = torch.randn(2, 4, 5, DIM, dtype=torch.float64)
    found = quantizer(images)
    torch.testing.assert_close(found.passed(), found.codes)
    (got,) = torch.autograd.grad((found.passed() * weight).sum(), images, retain_graph=True)
    (want,) = torch.autograd.grad((found.embeddings * weight).sum(), images)
    torch.testing.assert_close(got, want)
    assert got.abs().max() > 0 and not found.codes.requires_grad


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_changes_no_code(dtype):
    quantizer = built().float()
    images = maps(0).to(dtype)
    want = quantizer(images.float())
    with torch.autocast('cpu', dtype):
        got = quantizer(images)
    assert got.embeddings.dtype == torch.float32 and torch.equal(got.ids, want.ids)
    assert torch.equal(got.embeddings, want.embeddings)


def test_decoder():
    torch.manual_seed(0)
    options = dict(channels=CHANNELS, codes=CODES, dim=DIM)
    vit = dict(
        type='densecl.TimmViT', img_size=4, patch_size=1, in_chans=DIM, embed_dim=8, depth=1, num_heads=2,
        output_cls_token=False,
    )  # fmt: skip
    output = dict(type='densecl.ConvMLP', channels=(8, 8, 7), activation='Tanh')
    decoder = QuantizedDecoder(options, vit, output).double()
    features, found = decoder(maps(0)[..., :4])
    assert features.shape == (2, 7, 4, 4) and found.ids.shape == (2, 4, 4)
    codes = found.codes.permute(0, 3, 1, 2)
    torch.testing.assert_close(features, decoder.output(decoder.decoder(codes)[-1]))
    plain = QuantizedDecoder(options, CONV, dict(type='densecl.ConvMLP', channels=(4, 7))).double()
    assert plain(maps(0))[0].shape == (2, 7, 4, 5)


@pytest.mark.parametrize('wrong', [dict(codes=1), dict(codes=4, decay=1.0), dict(codes=4, decay=-0.1)])
def test_what_is_refused(wrong):
    with pytest.raises(ValueError, match=r'codes must be at least 2 and decay in \[0, 1\)'):
        VectorQuantizer(CHANNELS, **wrong)


def test_codes_that_were_loaded_go_on():
    """Of an earlier run, too, whose steps do not count: they are not made anew of the first batch."""
    torch.manual_seed(0)
    first, second, fresh = (VectorQuantizer(8, 6, 4).train() for _ in range(3))
    fresh.load_state_dict(fresh.state_dict())
    first(torch.randn(2, 8, 3, 3))
    second.load_state_dict(first.state_dict())
    for quantizer in (second, fresh):
        quantizer(torch.randn(2, 8, 3, 3))
    assert torch.equal(second.codebook, first.codebook) and fresh.codebook.any()
