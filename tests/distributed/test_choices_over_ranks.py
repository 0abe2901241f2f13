"""Every contrastive choice: two processes with half a batch each equal one with the whole."""

from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name('choices.py')


@pytest.fixture(scope='module')
def results(over_processes) -> tuple[dict, list[dict]]:
    """What one process found, and what each of two did."""
    (one,) = over_processes(SCRIPT, 1)
    return one, over_processes(SCRIPT, 2)


def test_loss_gradients_and_state(results):
    one, two = results
    assert len(one) == 4 * 22 - 3 + 2 * 4
    wrong = []
    for name, expected in one.items():
        for mine in two:
            for key in expected:
                # Among the diagnostics are float32 means.
                tolerance = 2e-7 if key.startswith('diagnostics') else 1e-9
                try:
                    torch.testing.assert_close(
                        mine[name][key], expected[key], rtol=tolerance, atol=tolerance
                    )
                except AssertionError as error:
                    wrong.append(f'{name} {key}: {error}')
    assert not wrong, '\n'.join(wrong)


def test_choices_matter(results):
    one, _ = results
    losses = {
        name: float(found['step2'][0])
        for name, found in one.items()
        if name.endswith('-both-dense')
    }
    assert len(losses) == 22
    assert len({round(value, 6) for value in losses.values()}) == 22, losses
