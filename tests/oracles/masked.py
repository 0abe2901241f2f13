"""Masked modelling as loops in float64."""

import math

import torch


def patch_vectors(images, patch):
    """(B, C, H, W) -> (B, L, p * p * C), pixel by pixel."""
    batch, channels, height, width = images.shape
    found = []
    for b in range(batch):
        rows = []
        for y in range(0, height, patch):
            for x in range(0, width, patch):
                rows.append(
                    [
                        images[b, c, y + i, x + j].item()
                        for i in range(patch)
                        for j in range(patch)
                        for c in range(channels)
                    ]
                )
        found.append(rows)
    return torch.tensor(found, dtype=torch.float64)


def masked_pixels(prediction, images, mask, patch, normalise):
    """The mean over masked patches of the mean squared error of their pixels."""
    vectors, terms = patch_vectors(images, patch), []
    for b in range(len(images)):
        for place in range(mask.shape[1]):
            if not mask[b, place]:
                continue
            values = vectors[b, place].tolist()
            if normalise:
                mean = sum(values) / len(values)
                variance = sum((v - mean) ** 2 for v in values) / (len(values) - 1)
                values = [(v - mean) / math.sqrt(variance + 1e-6) for v in values]
            guess = prediction[b, place].tolist()
            terms.append(sum((g - v) ** 2 for g, v in zip(guess, values, strict=True)) / len(values))
    return sum(terms) / len(terms)


def exchanged_contrast(queries, keys, temperature):
    """SiT's and MoCo v3's: queries of each view against the other's keys, 2 t times the cross entropy."""
    total = 0.0
    for rows, others in ((queries[0], keys[1]), (queries[1], keys[0])):
        for i, row in enumerate(rows):
            cosines = [torch.dot(row, k) / (row.norm() * k.norm()) for k in others]
            logits = torch.stack(cosines) / temperature
            total = total + 2 * temperature * (logits.exp().sum().log() - logits[i]) / len(rows)
    return total


def replaced_absolute(decoded, clean, replaced):
    """The mean distance of the channels of replaced pixels; decoded and clean are (B, C, H, W)."""
    terms = [
        (decoded[b, c, y, x] - clean[b, c, y, x]).abs()
        for b, y, x in replaced.nonzero().tolist()
        for c in range(clean.shape[1])
    ]
    return sum(terms) / len(terms)


def masked_absolute(decoded, images, hidden, patch):
    """SimMIM pixel by pixel; decoded is (B, p * p * 3, h, w) in the order row, column, channel."""
    terms = []
    for b, y, x in hidden.nonzero().tolist():
        values = decoded[b, :, y, x].unflatten(0, (patch, patch, 3))
        for i in range(patch):
            for j in range(patch):
                for c in range(3):
                    pixel = images[b, c, y * patch + i, x * patch + j]
                    terms.append(abs(values[i, j, c].item() - pixel.item()))
    return sum(terms) / len(terms)
