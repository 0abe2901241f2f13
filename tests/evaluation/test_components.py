"""Principal components against a singular value decomposition in float64."""

import numpy as np
import pytest
import torch

from densecl.evaluation.components import principal_components


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.float16])
def test_scores_are_those_of_a_singular_value_decomposition(dtype):
    rows = (torch.randn(40, 9) @ torch.randn(9, 9) + 3).to(dtype)
    x = np.float64(rows) - np.float64(rows).mean(0)
    _, _, directions = np.linalg.svd(x, full_matrices=False)
    directions *= np.sign(np.take_along_axis(directions, abs(directions).argmax(1)[:, None], 1))
    found = principal_components(rows, 4)
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    np.testing.assert_allclose(found, (x @ directions.T)[:, :4], atol=1e-4)
    assert principal_components(rows, 50).shape == (40, 9)
