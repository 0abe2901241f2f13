"""f-MICL against loops over pairs, with each divergence by its definition."""

import math
from dataclasses import replace

import pytest
import torch

from densecl.models.losses import FMutualInformation
from densecl.structures import Comparison, Units

#: f of each divergence, of its definition; f' and the conjugate are found from it by the test.
F = {
    'kl': lambda u: u * u.log(),
    'pearson': lambda u: (u - 1) ** 2,
    'jensen-shannon': lambda u: u * u.log() - (u + 1) * ((u + 1) / 2).log(),
    'squared-hellinger': lambda u: (u.sqrt() - 1) ** 2,
    'vincze-le-cam': lambda u: (u - 1) ** 2 / (u + 1),
}


def slope(f, u):
    u = torch.tensor(u, dtype=torch.float64, requires_grad=True)
    return torch.autograd.grad(f(u), u)[0].item()


def conjugate(f, t, near):
    """max over u of u t - f(u), by a search on a fine grid round ``near``."""
    u = torch.linspace(near * 0.5, near * 1.5, 200_001, dtype=torch.float64)
    return float((u * t - f(u)).max())


def naive(query, key, f, sigma, weight):
    kernel = lambda x, y: math.exp(-float(((x / x.norm() - y / y.norm()) ** 2).sum()) / (2 * sigma**2))  # noqa: E731
    total = 0.0
    for i, x in enumerate(query):
        g = [kernel(x, y) for y in key]
        others = [conjugate(f, slope(f, g[j]), g[j]) for j in range(len(key)) if j != i]
        total += weight * sum(others) / len(others) - slope(f, g[i])
    return total / len(query)


@pytest.mark.parametrize('divergence', F)
def test_value_and_gradient(divergence):
    generator = torch.Generator().manual_seed(1)
    query, key = torch.randn(2, 5, 1, 4, generator=generator, dtype=torch.float64).unbind()
    objective = FMutualInformation(divergence, sigma=0.9, weight=1.3)
    query = query.requires_grad_()
    loss, found = objective.score(Comparison.of_sets(query, key))
    want = naive(query.detach()[:, 0], key[:, 0], F[divergence], 0.9, 1.3)
    assert loss.item() == pytest.approx(want, rel=1e-6)
    assert loss.item() == pytest.approx((found['alignment'] + 1.3 * found['uniformity']).item())
    score = lambda q: objective.score(Comparison.of_sets(q, key))[0]  # noqa: E731
    assert torch.autograd.gradcheck(score, query)


def test_cells_meet_the_pooled_keys_of_other_images():
    query, key = torch.randn(2, 3, 2, 4, dtype=torch.float64).unbind()
    found = FMutualInformation('pearson').score(Comparison.of_sets(query, key))[1]
    direction = lambda x: x / x.norm(dim=-1, keepdim=True)  # noqa: E731
    pooled, total = direction(key.mean(1)), 0.0
    for i, image in enumerate(direction(query)):
        for x in image:
            kernels = [((x @ pooled[j] - 1) / 0.25).exp() for j in range(3) if j != i]
            total += sum(float(g**2 - 1) for g in kernels) / 2
    assert found['uniformity'].item() == pytest.approx(total / 6)


def test_images_without_a_unit_are_no_others():
    """The mean is over the images that have units; without any other the second part is 0."""
    generator = torch.Generator().manual_seed(1)
    vectors = torch.randn(2, 3, 2, 4, generator=generator, dtype=torch.float64)
    found = []
    for there in (3, 2, 1):
        valid = (torch.arange(3) < there)[:, None].expand(3, 2)
        query, key = (Units(x.clone().requires_grad_(), pooled=x.mean(1), valid=valid) for x in vectors)
        comparison = replace(Comparison.of_sets(*vectors), query=query, key=key)
        comparison.match = replace(comparison.match, valid=valid)
        loss, logged = FMutualInformation('kl').score(comparison)
        loss.backward()
        assert query.vectors.grad.isfinite().all()
        found.append(logged['uniformity'])
    alone = Comparison.of_sets(*vectors[:, :2])
    alone = replace(alone, key=Units(vectors[1, :2], pooled=vectors[1, :2].mean(1)))
    two = FMutualInformation('kl').score(alone)[1]['uniformity']
    assert found[1] == pytest.approx(two.item()) and found[1] != pytest.approx(found[0].item())
    assert found[2] == 0


def test_a_batch_of_one_image_is_refused():
    one = Comparison.of_sets(*torch.randn(2, 1, 2, 4).unbind())
    with pytest.raises(ValueError, match='the batch has one; raise train_dataloader.batch_size'):
        FMutualInformation().score(one)


@pytest.mark.parametrize('wrong', [dict(divergence='l2'), dict(sigma=0.0)])
def test_refusals_name_what_is_wanted(wrong):
    with pytest.raises(ValueError, match=f'FMutualInformation: {next(iter(wrong))} must be'):
        FMutualInformation(**wrong)
