"""Orthonormal prototypes and the alignment with them."""

import pytest
import torch

from densecl.models.losses import functional as L


@pytest.mark.parametrize(('classes', 'dim'), [(1, 1), (3, 8), (10, 10)])
def test_prototypes_are_orthonormal(classes, dim):
    anchors = L.orthonormal_prototypes(classes, dim, torch.Generator().manual_seed(0))
    assert anchors.shape == (classes, dim)
    assert anchors.dtype == torch.float32
    torch.testing.assert_close(anchors @ anchors.T, torch.eye(classes), rtol=0, atol=1e-6)


def test_prototypes_come_from_the_generator():
    first, again, other = (
        L.orthonormal_prototypes(3, 8, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


def test_more_classes_than_dimensions_are_refused():
    with pytest.raises(ValueError, match='9 orthonormal prototypes need at least 9 dimensions, got 8'):
        L.orthonormal_prototypes(9, 8, torch.Generator())


def test_alignment_equals_the_definition_and_skips_the_unlabelled(agree, draw):
    anchors = L.orthonormal_prototypes(3, 4, torch.Generator().manual_seed(0)).double()
    labels = torch.tensor([2, -1, 0, 0, -1])

    def naive(features):
        rows = [i for i in range(5) if labels[i] >= 0]
        cosines = [
            torch.dot(features[i], anchors[labels[i]]) / features[i].norm() / anchors[labels[i]].norm()
            for i in rows
        ]
        return sum(1 - c for c in cosines) / len(rows)

    agree(lambda x: L.prototype_alignment(x, labels, anchors), naive, *draw((5, 4)))


def test_alignment_of_the_prototypes_themselves_is_zero():
    anchors = L.orthonormal_prototypes(3, 4, torch.Generator().manual_seed(0)).double()
    assert L.prototype_alignment(5 * anchors, torch.arange(3), anchors).item() == pytest.approx(0, abs=1e-12)
    assert L.prototype_alignment(-anchors, torch.arange(3), anchors).item() == pytest.approx(2)


def test_alignment_without_labels_is_zero(draw):
    features, anchors = draw((5, 4), (3, 4))
    features.requires_grad_()
    loss = L.prototype_alignment(features, torch.full((5,), -1), anchors)
    loss.backward()
    assert loss.item() == 0
    assert features.grad.abs().sum() == 0
