"""MAE, SimMIM, inpainting, BEiT v2, VQ-KD, iBOT, DINOv2, DINO, CAPI: two processes equal one."""

from pathlib import Path

import torch

SCRIPT = Path(__file__).with_name('masked.py')
HIDDEN_BY_TOKEN = ('SimMIM', 'inpainting', 'BEiT v2', 'iBOT', 'DINOv2', 'DINO')


def test_parts_of_the_batch_equal_the_whole(over_processes):
    (one,), two = over_processes(SCRIPT, 1), over_processes(SCRIPT, 2)
    for method, whole in one.items():
        moved = {name for step in whole['gradients'] for name, g in step.items() if g.abs().sum() > 0}
        assert 'backbone.patch_embed.proj.weight' in moved, method
        assert (whole['logged']['loss_masked'] > 0).all(), method
        assert ('backbone.mask_token' in moved) == (method in HIDDEN_BY_TOKEN)
        if method == 'DINO':
            moving = [bool(step['backbone.mask_token'].any()) for step in whole['gradients']]
            assert moving == [True, False, True]
        for each in (process[method] for process in two):
            torch.testing.assert_close(each['logged'], whole['logged'], rtol=1e-10, atol=0)
            torch.testing.assert_close(each['gradients'], whole['gradients'], rtol=1e-7, atol=1e-11)
            torch.testing.assert_close(each['state'], whole['state'], rtol=1e-7, atol=1e-9)
