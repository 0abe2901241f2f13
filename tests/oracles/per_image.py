"""State per image, one number at a time: iSogCLR's surrogate, GloFND's thresholds; and FNC's search."""

import torch
import torch.nn.functional as F


class Surrogate:
    """SogCLR and iSogCLR: both views at once, the weights detached, as the official code has it; in lists."""

    def __init__(self, images, gamma, temperature=0.1, rho=0.4, beta=0.5, lr=0.03, learn=True):
        self.gamma, self.rho, self.beta = gamma, rho, beta
        self.lr = lr if learn else 0.0
        self.s, self.tau, self.u = [None] * images, [temperature] * images, [0.0] * images

    def step(self, view1, view2, indices):
        """The loss; an image may be in the batch twice, which is one more view of it."""
        z1, z2 = F.normalize(view1, dim=1), F.normalize(view2, dim=1)
        n, total = 2 * len(z1) - 2, 0.0
        estimates, slopes = {i: [] for i in indices}, {i: [] for i in indices}
        for query, key in ((z1, z2), (z2, z1)):
            for row, i in enumerate(indices):
                other = torch.arange(len(query)) != row
                s = torch.cat([query[other], key[other]]) @ query[row]
                e = (s.detach() / self.tau[i]).exp()
                g = e.mean()
                estimate = g if self.s[i] is None else (1 - self.gamma) * self.s[i] + self.gamma * g
                w = e / estimate
                total = total + (w * s).sum() / n - query[row] @ key[row]
                estimates[i].append(estimate)
                slopes[i].append(estimate.log() + self.rho - (w * s.detach() / self.tau[i]).sum() / n)
        for i in set(indices):
            self.s[i] = sum(estimates[i]) / len(estimates[i])
            slope = float(sum(slopes[i]) / len(slopes[i]))
            self.u[i] = (1 - self.beta) * self.u[i] + self.beta * min(3.0, max(-3.0, slope))
            self.tau[i] = min(1.0, max(0.05, self.tau[i] - self.lr * self.u[i]))
        return total / len(indices)


def cosines_of(query, key):
    """Per query: cosine with the positive, and those with both views of other images."""
    query, key = F.normalize(query, dim=1), F.normalize(key, dim=1)
    found = []
    for i in range(len(query)):
        other = torch.arange(len(query)) != i
        found.append((query[i] @ key[i], torch.cat([key[other], query[other]]) @ query[i]))
    return found


class Thresholds:
    """GloFND with Adam whose bias correction counts epochs."""

    def __init__(self, images, share, lr, temperature):
        self.share, self.lr, self.temperature = share, lr, temperature
        self.numbers = {i: [1.0, 0.0, 0.0] for i in range(images)}

    def step(self, views, indices, epoch):
        """The loss of both directions, each filtered by the old thresholds; then one update."""
        old = {i: self.numbers[i][0] for i in indices}
        total = 0.0
        shares = {i: [] for i in indices}
        for query, key in (views, views[::-1]):
            for i, (p, s) in zip(indices, cosines_of(query, key), strict=True):
                kept = s[s <= old[i]]
                logits = torch.cat([p[None], kept]) / self.temperature
                total = total + logits.logsumexp(0) - p / self.temperature
                shares[i].append(float((s > old[i]).double().mean()))
        for i in set(indices):
            g = self.share - sum(shares[i]) / len(shares[i])
            value, m, v = self.numbers[i]
            m, v = 0.9 * m + 0.1 * g, 0.98 * v + 0.02 * g * g
            corrected = (m / (1 - 0.9 ** (epoch + 1))) / ((v / (1 - 0.98 ** (epoch + 1))) ** 0.5 + 1e-8)
            self.numbers[i] = [min(1.0, max(-1.0, value - self.lr * corrected)), m, v]
        return total / len(indices)


def similar_images(views, pool, images, image, top, threshold):
    """Columns of the pool: the highest maxima over the image's views, above the threshold (FNC)."""
    scores = torch.stack([pool @ F.normalize(v, dim=0) for v in views]).amax(0)
    scores[images == image] = -1e9
    best = scores.argsort(descending=True)[:top]
    return [int(c) for c in best if scores[c] > threshold]


def loss_of_one(q, p, pool, negatives, found, treatment, t):
    """Loss of a unit query q with its positive p, where the columns found are false negatives."""
    positive = q @ p / t
    logits = pool @ q / t
    if treatment == 'elimination':
        kept = [c for c in negatives if c not in found]
        return torch.cat([positive[None], logits[kept]]).logsumexp(0) - positive
    everything = torch.cat([positive[None], logits[negatives]]).logsumexp(0)
    return everything - (positive + logits[found].sum()) / (1 + len(found))
