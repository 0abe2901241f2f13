"""IFND: k-means, confidence, acceptance, and what they take out of the denominator."""

import pytest
import torch
import torch.nn.functional as F
from oracles.comparisons import compare, part, set_clock, step

from densecl.models.losses import Clusters, InfoNCE
from densecl.models.losses.filters.clusters import assign, k_means
from densecl.schedule import Clock

T = 0.3


def blobs(each=6, count=3, dim=5):
    """Unit vectors around ``count`` axes."""
    centres = torch.eye(dim, dtype=torch.float64)[:count].repeat_interleave(each, 0)
    return F.normalize(centres + 0.1 * torch.randn(len(centres), dim, dtype=torch.float64), dim=1)


def test_k_means_finds_blobs():
    features = blobs()
    for seed in range(20):  # of random starts some have one image of each blob
        centroids = k_means(features, 3, 10, seed)
        labels, _ = assign(features, centroids, 0.1)
        groups = labels.view(3, 6)
        if len(groups[:, 0].unique()) == 3:
            break
    assert (groups == groups[:, :1]).all()
    means = torch.stack([F.normalize(features[labels == k].mean(0), dim=0) for k in range(3)])
    torch.testing.assert_close(centroids, means)


def test_confidence_is_the_softmax_over_centroids():
    features = F.normalize(torch.randn(9, 5, dtype=torch.float64), dim=1)
    centroids = F.normalize(torch.randn(4, 5, dtype=torch.float64), dim=1)
    labels, confidence = assign(features, centroids, 0.2)
    probability, nearest = (features @ centroids.T / 0.2).softmax(1).max(1)
    assert torch.equal(labels, nearest)
    torch.testing.assert_close(confidence, probability)


def test_a_cluster_without_members_stays():
    features = F.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.1]]), dim=1)
    assert k_means(features, 3, 5, 0).isfinite().all()


@pytest.mark.parametrize('acceptance, labelled', [(0.0, 0), (0.5, 9), (1.0, 18)])
def test_the_most_confident_are_accepted(acceptance, labelled):
    clusters = Clusters(images=20, dim=5, clusters=(3,)).double()
    features, labels = clusters.state.features, clusters.state.labels
    features[:18], clusters.state.seen[:18] = blobs(), True
    clusters.cluster(4, acceptance)
    assert int((labels >= 0).sum()) == labelled
    assert (labels[18:] == -1).all()
    assert clusters.clustered == 4
    centroids = k_means(features[:18], 3, 20, seed=4)
    nearest, confidence = assign(features[:18], centroids, 0.1)
    accepted = labels[:18, 0] >= 0
    assert torch.equal(labels[:18, 0][accepted], nearest[accepted])
    if 0 < labelled < 18:
        assert confidence[accepted].min() >= confidence[~accepted].max()


def test_a_step_that_is_skipped_leaves_the_labels():
    clusters = Clusters(images=20, dim=5, clusters=(3,)).double()
    clusters.state.features[:18], clusters.state.seen[:18] = blobs(), True
    for counts, labelled in ((False, 0), (True, 18)):
        clusters.state.journal = []
        clusters.cluster(4, 1.0)
        clusters.state.keep_where(torch.tensor(counts))
        assert int((clusters.state.labels >= 0).sum()) == labelled


def build(treatment='elimination', queue=6, decoupled=False, **kwargs):
    kind = dict(type='densecl.Clusters', images=30, dim=5, clusters=(2, 3), treatment=treatment)
    options = dict(batch='keys', negatives={**kind, **kwargs}, decoupled=decoupled)
    objective = InfoNCE(temperature=T, queue=queue, dim=5, **options)
    return objective.double()


@pytest.mark.parametrize('rows', ['image', 'dense'])
@pytest.mark.parametrize('treatment', ['elimination', 'attraction'])
@pytest.mark.parametrize('decoupled', [False, True])
def test_labelled_alike_in_one_clustering_are_false_negatives(decoupled, treatment, rows):
    objective = build(treatment, decoupled=decoupled).eval()
    objective.queue.keys.copy_(F.normalize(objective.queue.keys, dim=1))
    objective.queue.images.copy_(torch.tensor([20, 21, 22, 23, -1, 0]))
    labels = torch.full((2, 30), -1)
    labels[0, [0, 1, 20, 22]] = torch.tensor([1, 0, 1, 0])
    labels[1, [0, 2, 3, 21, 23]] = torch.tensor([0, 2, 2, 0, 1])
    part(objective, Clusters).state.labels.copy_(labels.T)
    image_of = torch.arange(4) if rows == 'image' else torch.arange(4).repeat_interleave(2)
    query, positive, keys = (torch.randn(n, 5, dtype=torch.float64) for n in (len(image_of),) * 2 + (4,))
    keys = positive if rows == 'image' else keys
    query.requires_grad_()
    loss, _ = objective.score(compare(query, positive, torch.arange(4), keys))
    # By hand: image 0 with its own older key (column 5), 20 and 21; image 1 with 22; 2 with 3.
    found = {0: [0, 1, 5], 1: [2], 2: [6 + 3], 3: [6 + 2]}
    pool = torch.cat([objective.queue.keys, F.normalize(keys, dim=1)])
    expected = []
    for i, image in enumerate(image_of.tolist()):
        q, p = F.normalize(query[i], dim=0), F.normalize(positive[i], dim=0)
        others = [c for c in range(10) if c != 6 + image]
        alike = found[image]
        stay = treatment == 'attraction' and not decoupled
        kept = others if stay else [c for c in others if c not in alike]
        total = torch.cat([(p @ q / T)[None][decoupled:], pool[kept] @ q / T]).logsumexp(0)
        logits = [p @ q / T] + ([pool[c] @ q / T for c in alike] if treatment == 'attraction' else [])
        expected.append(total - torch.stack(logits).mean())
    expected = torch.stack(expected).mean()
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-9)
    mine, theirs = (torch.autograd.grad(x, query)[0] for x in (loss, expected))
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-9)


def train(objective, steps):
    """Steps of 10 images out of 30, 3 an epoch; seeded by their number."""
    clock = set_clock(objective, Clock(total=12, epoch=3))
    losses = []
    for clock.step in steps:
        generator = torch.Generator().manual_seed(clock.step)
        query, key = torch.randn(2, 10, 5, dtype=torch.float64, generator=generator)
        losses.append(step(objective, compare(query, key, torch.arange(30)[clock.step % 3 :: 3])))
    return torch.stack(losses)


def test_clusters_once_an_epoch_with_growing_acceptance_and_resumes_exactly():
    whole = build().train()
    start = {k: v.clone() for k, v in whole.state_dict().items()}
    first = train(whole, range(5))
    clusters = part(whole, Clusters)
    assert clusters.clustered == 3
    assert (clusters.state.labels >= 0).sum(0).tolist() == [round(30 * 3 / 12)] * 2
    half = build().train()
    half.load_state_dict(start)
    torch.testing.assert_close(train(half, range(5)), first)
    resumed = build().train()
    resumed.load_state_dict(half.state_dict())
    assert torch.equal(train(resumed, range(5, 12)), train(whole, range(5, 12)))
    assert clusters.clustered == part(resumed, Clusters).clustered == 9
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert clusters.state.seen.all()


@pytest.mark.parametrize(
    'every, unit, want', [(3, 'step', [3, 6, 9]), (0.25, 'run', [3, 6, 9]), (2.5, 'step', [3, 5, 8, 10])]
)
def test_when_it_clusters(monkeypatch, every, unit, want):
    objective = build(every=every, unit=unit).train()
    clusters, times = part(objective, Clusters), []

    def cluster(step, acceptance):
        times.append((step, round(acceptance, 6)))
        clusters.clustered = step

    monkeypatch.setattr(clusters, 'cluster', cluster)
    train(objective, [s for s in range(12) for _ in range(2)])  # two batches make up a step
    assert times == [(s, round(s / 12, 6)) for s in want]


def test_the_last_key_of_an_image_is_kept_even_if_twice_in_a_batch():
    objective = build().train()
    set_clock(objective, Clock(epoch=100))
    first, last = torch.randn(2, 4, 5, dtype=torch.float64)
    indices = torch.tensor([7, 3, 7, 9])
    step(objective, compare(last, first, indices), compare(first, last, indices))
    state = part(objective, Clusters).state
    torch.testing.assert_close(state.features[[3, 7, 9]], F.normalize(last, dim=1)[[1, 2, 3]])
    assert state.seen.nonzero()[:, 0].tolist() == [3, 7, 9]


def test_errors():
    objective = build(every=1, unit='step').train()
    set_clock(objective, Clock(step=5, total=10))
    x = torch.randn(2, 5, dtype=torch.float64)
    with pytest.raises(ValueError, match='batch.indices is None'):
        step(objective, compare(x, x))
    with pytest.raises(IndexError, match='met image 30: images must be'):
        step(objective, compare(x, x, torch.tensor([0, 30])))
    with pytest.raises(ValueError, match='2 images were seen by now, too few'):
        step(objective, compare(x, x, torch.tensor([0, 1])))
    with pytest.raises(ValueError, match='between 1 and images=30'):
        build(clusters=(31,))
