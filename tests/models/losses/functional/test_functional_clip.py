"""CLIP's and SigLIP's losses against their matrices of logits, written out in float64."""

import math

import pytest
import torch
import torch.nn.functional as F

from densecl.models.losses import InfoNCE, SigmoidContrast
from densecl.models.losses import functional as L
from densecl.numerics import unit
from densecl.structures import Comparison


def naive_clip(image, text, scale):
    logits, rows = scale * image @ text.T, torch.arange(len(image))
    return (F.cross_entropy(logits, rows) + F.cross_entropy(logits.T, rows)) / 2


def naive_siglip(image, text, scale, bias):
    total = 0.0
    for i, x in enumerate(image):
        for j, y in enumerate(text):
            z = 1 if i == j else -1
            total = total - torch.log(torch.sigmoid(z * (scale * torch.dot(x, y) + bias)))
    return total / len(image)


@pytest.mark.parametrize('scale', [1.0, 14.3, 100.0])
def test_clip_equals_two_cross_entropies_with_the_gradient_of_the_scale(agree, draw, scale):
    image, text = (unit(x) for x in draw((6, 4), (6, 4)))
    agree(L.clip_loss, naive_clip, image, text, torch.tensor(scale, dtype=torch.float64))
    torch.testing.assert_close(L.clip_loss(image, text, scale), naive_clip(image, text, scale))


def test_siglip_equals_the_sum_over_all_pairs(agree, draw):
    image, text = (unit(x) for x in draw((5, 4), (5, 4)))
    scale, bias = torch.tensor([7.0, -3.0], dtype=torch.float64)
    agree(L.siglip_loss, naive_siglip, image, text, scale, bias)


def test_the_vectors_are_taken_as_they_are(draw):
    image, text = draw((6, 4), (6, 4))
    torch.testing.assert_close(L.clip_loss(image, text, 1.5), naive_clip(image, text, 1.5))


def test_one_pair_has_no_negatives_and_no_loss(draw):
    image, text = (unit(x) for x in draw((1, 4), (1, 4)))
    assert L.clip_loss(image, text, 100.0) == 0


def test_half_precision_is_computed_in_float32(draw):
    image, text = (unit(x).half() for x in draw((6, 4), (6, 4)))
    with torch.autocast('cpu', torch.bfloat16):
        got = L.clip_loss(image, text, 100.0)
    torch.testing.assert_close(got, naive_clip(image.float(), text.float(), 100.0))


def test_the_objectives_of_heads_have_these_values(draw):
    image, text = (x.requires_grad_() for x in draw((6, 4), (6, 4)))
    objective = InfoNCE(
        queue=0, batch='keys', temperature=dict(type='LearnedTemperature', start=0.05)
    ).double()
    sides = [Comparison.of_rows(*side) for side in ((image, text), (text, image))]
    got = sum(objective.score(c)[0] for c in sides) / 2
    torch.testing.assert_close(got, L.clip_loss(unit(image), unit(text), 20.0), rtol=0, atol=1e-6)
    sigmoid = SigmoidContrast(scale=5.0, bias=-2.0).double()
    want = L.siglip_loss(unit(image), unit(text), 5.0, -2.0)
    torch.testing.assert_close(sigmoid.score(sides[0])[0], want, rtol=0, atol=1e-6)
    got.backward()
    assert objective.temperature.log_scale.grad.abs() > 0


def test_siglip_begins_where_most_pairs_are_told_to_be_far():
    """Of vectors at right angles another costs softplus(-10), the own one softplus(10)."""
    eye = torch.eye(8, dtype=torch.float64)
    loss, _ = SigmoidContrast().double().score(Comparison.of_rows(eye, eye.flip(0)))
    own, others = math.log1p(math.exp(10)), math.log1p(math.exp(-10))
    # six of the seven others are at right angles, one is the vector itself
    want = own + 6 * others + math.log1p(math.exp(0.0))
    assert loss.item() == pytest.approx(want, rel=1e-6)
