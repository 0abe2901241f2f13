"""VQ-KD's head against loops in float64: both losses, their gradients, when codes move."""

import pytest
import torch
from oracles import quantised
from torch import nn

from densecl.models.targets import TeacherFeatures
from densecl.registry import MODELS
from tests.models.pretrainers.test_momentum import batch

VIT = dict(
    type='densecl.TimmViT', img_size=32, patch_size=8, embed_dim=12, depth=1, num_heads=2,
    output_cls_token=False,
)  # fmt: skip
CODES, DIM, WIDE = 7, 3, 5


def pretrainer(kind='SharedPretrainer', **head):
    torch.manual_seed(0)
    projector = dict(
        type='densecl.QuantizedDecoder',
        quantizer=dict(channels=12, codes=CODES, dim=DIM, decay=0.9),
        decoder=dict(VIT, img_size=4, patch_size=1, in_chans=DIM),
        output=dict(type='densecl.ConvMLP', channels=(12, WIDE), activation='Tanh'),
    )
    teacher = dict(
        type='densecl.TeacherFeatures', backbone=dict(type='densecl.ConvMLP', channels=(3, WIDE)),
        channels=WIDE, patch=8, stride=1, file='teacher.pth',
    )  # fmt: skip
    objectives = [dict(type='densecl.Cosine'), dict(type='densecl.Commitment')]
    config = dict(
        units='densecl.QuantizedCells',
        projector=projector,
        target=teacher,
        matching='densecl.SameRow',
        objective=dict(type='densecl.Sum', objectives=objectives),
        pairs=((0, 0),),
    )
    config = {k: v for k, v in {**config, **head}.items() if v is not None}
    model = MODELS.build(dict(type=f'densecl.{kind}', backbone=VIT, heads=dict(features=config)))
    return model.double().train()


def views():
    found = batch(3, 32)
    found.images = [x.double() for x in found.images]
    return found


def test_the_loss_is_that_of_loops():
    model = pretrainer()
    head, given = model.heads['features'], views()
    logged = model.loss(given)
    level = model.encode(given.images[0])[-1]
    codebook = head.projector.quantizer.codebook  # of decay 0.9; the loss was made with the ones before
    before = pretrainer().heads['features'].projector
    before.quantizer(level)  # k-means of the same batch
    codes = before.quantizer.codebook.tolist()
    z = before.quantizer.embeddings(level).flatten(0, 2).tolist()
    ids = [quantised.nearest_code(v, codes) for v in z]
    want = torch.tensor(quantised.moved(codes, z, ids, 0.9), dtype=torch.float64)
    torch.testing.assert_close(codebook, want, rtol=1e-10, atol=1e-12)
    coded = torch.tensor([codes[i] for i in ids], dtype=torch.float64).view(3, 4, 4, DIM)
    said = head.projector.output(head.projector.decoder(coded.permute(0, 3, 1, 2))[-1])
    said, taught = (
        x.permute(0, 2, 3, 1).flatten(0, 2).tolist() for x in (said, head.target(given.images[0])[0])
    )
    cosines = [quantised.cosine(a, b) for a, b in zip(said, taught, strict=True)]
    distances = [quantised.squared_distance(a, codes[i]) for a, i in zip(z, ids, strict=True)]
    assert logged['features_Cosine'].item() == pytest.approx(-sum(cosines) / 48, rel=1e-9)
    assert logged['features_Commitment'].item() == pytest.approx(sum(distances) / 48, rel=1e-9)
    assert logged['loss_features'].item() == pytest.approx((sum(distances) - sum(cosines)) / 48, rel=1e-9)
    assert {'features_used', 'features_perplexity', 'features_pos_sim'} <= logged.keys()


def test_gradients_go_past_the_codes():
    """Of the embeddings: what reaches the codes, and 2 (z - q) / (E N)."""
    model, given = pretrainer(), views()
    model.set_steps(1)
    quantizer = model.heads['features'].projector.quantizer
    quantizer.codebook.copy_(nn.functional.normalize(torch.randn(CODES, DIM).double(), dim=1))
    seen = []
    quantizer.register_forward_hook(lambda module, inputs, found: seen.append(found))
    codes = []
    model.heads['features'].projector.decoder.register_forward_pre_hook(
        lambda m, inputs: codes.append(inputs[0])
    )
    loss = model.loss(given)['loss_features']
    z, q = seen[0].embeddings, seen[0].codes
    at_z, at_codes = torch.autograd.grad(loss, [z, codes[0]])
    want = at_codes.permute(0, 2, 3, 1) + 2 * (z - q) / z.numel()
    torch.testing.assert_close(at_z, want.detach())
    assert at_codes.abs().max() > 1e-6


def test_codes_move_once_a_step():
    model, given = pretrainer(), views()
    quantizer = model.heads['features'].projector.quantizer
    model.ends_step = False
    model.loss(given)
    begun = quantizer.codebook.clone()
    model.loss(given)
    assert torch.equal(quantizer.codebook, begun) and quantizer.totals[:, -1].sum() == 2 * 48
    model.ends_step = True
    model.loss(given)
    assert not torch.equal(quantizer.codebook, begun) and not quantizer.totals.any()
    moved = quantizer.codebook.clone()
    model.eval().loss(given)
    assert torch.equal(quantizer.codebook, moved)


def test_a_resumed_run_is_the_same():
    def steps(model, optimizer, count):
        for _ in range(count):
            optimizer.zero_grad()
            torch.manual_seed(model.clock.step)
            model.loss(views())['loss_features'].backward()
            optimizer.step()
            model.after_optimizer_step()

    whole, first, second = pretrainer(), pretrainer(), pretrainer()
    make = lambda model: torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)  # noqa: E731
    steps(whole, make(whole), 4)
    steps(first, make(first), 2)
    second.load_state_dict(first.state_dict())
    steps(second, make(second), 2)
    assert all(torch.equal(v, second.state_dict()[k]) for k, v in whole.state_dict().items())


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    model, given = pretrainer().float(), views()
    given.images = [x.float() for x in given.images]
    with torch.autocast('cpu', dtype):
        loss = model.loss(given)['loss_features']
    loss.backward()
    assert loss.dtype == torch.float32
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


def test_what_is_refused():
    with pytest.raises(
        ValueError, match="QuantizedCells needs a target of the head's own; .*TeacherFeatures"
    ):
        pretrainer(target=None)
    with pytest.raises(
        ValueError, match="QuantizedCells needs a projector of the head's own; .*QuantizedDec"
    ):
        pretrainer(projector=None)
    assert isinstance(pretrainer().heads['features'].target, TeacherFeatures)
