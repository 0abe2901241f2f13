"""RASA: projections against loops in float64, the fold, the rounds of a run."""

import pytest
import torch
from oracles import post_training as by_hand

from densecl.models.necks import PositionPredictor
from densecl.models.necks.positions import folded, orthonormal, without_directions
from densecl.models.targets import Positions
from densecl.registry import MODELS
from densecl.schedule import Clock
from densecl.structures import Batch
from tests.models.heads.made import Fixed, build, maps, views_of


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def test_projections_against_the_normal_equations():
    features, rounds = draw(2, 3, 6), draw(3, 2, 6, seed=1)
    got = without_directions(features, rounds)
    torch.testing.assert_close(got.flatten(0, 1), by_hand.without_directions(features.flatten(0, 1), rounds))
    # The last round is gone; earlier ones come back where rounds are not orthogonal to each other.
    torch.testing.assert_close(got @ rounds[-1].mT, torch.zeros(2, 3, 2).double())
    assert (got @ rounds[0].mT).abs().max() > 1e-3
    assert torch.autograd.gradcheck(lambda x: without_directions(x, rounds), features.requires_grad_())


def test_the_fold_equals_the_sequence():
    features, rounds = draw(50, 12), draw(5, 2, 12, seed=1)
    matrix = folded(rounds)
    assert matrix.dtype == torch.float64
    torch.testing.assert_close(features @ matrix.mT, without_directions(features, rounds))
    single = folded(rounds[:1])
    torch.testing.assert_close(single @ single, single)
    torch.testing.assert_close(single, single.mT)
    near = (folded(list(rounds.float())) - matrix).abs().max()
    assert near < 1e-5, 'float32 directions are folded in float64'


def test_parallel_and_missing_directions():
    row = draw(4)
    for second in (2 * row, 0 * row):
        basis = orthonormal(torch.stack([row, second]))
        torch.testing.assert_close(basis[0], row / row.norm())
        assert not basis[1].any()
    zero = without_directions(draw(3, 4), [torch.zeros(2, 4)])
    torch.testing.assert_close(zero, draw(3, 4))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    features, rounds = draw(5, 6).to(dtype), draw(2, 2, 6).float()
    with torch.autocast('cpu', torch.bfloat16):
        got = without_directions(features, rounds)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, without_directions(features.float(), rounds))
    predictor = PositionPredictor(6, 1)
    x = draw(2, 6, 3, 3).to(dtype)
    with torch.autocast('cpu', torch.bfloat16):
        half = predictor(x)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, predictor(x.float()))


def test_positions_of_cells():
    (level,) = Positions(8)(torch.zeros(2, 3, 24, 33, dtype=torch.float16))
    assert level.dtype == torch.float32 and level.shape == (2, 2, 3, 5)
    assert level[1, 0, :, 2].tolist() == [0, 0.5, 1] and level[0, 1, 1].tolist() == [0, 0.25, 0.5, 0.75, 1]
    (one,) = Positions(8)(torch.zeros(1, 3, 8, 8))
    assert not one.any(), 'a single cell'


def head_of(rounds=3, channels=6):
    target = dict(type='densecl.Positions', patch=8)
    projector = dict(type='densecl.PositionPredictor', channels=channels, rounds=rounds)
    return build('Cells', 'Reconstruction', projector=projector, target=target, pairs=((0, 0),)).train()


def loss_of(head, level):
    views = views_of([torch.zeros(len(level), 3, 24, 24, dtype=torch.float64)])
    branch = Fixed(level)
    target = Fixed(head.target(views.images[0])[0], gradient=False)
    return head.loss(branch, target, views, Batch.of(views), torch.nn.Identity()).loss


@pytest.mark.parametrize('step', [0, 4, 11])
def test_the_head_scores_what_the_formula_says(step):
    head, (level,) = head_of(), maps(1)
    head.projector.clock = Clock(step=step, total=12, epoch=3)
    now, rounds = 3 * step // 12, list(head.projector.rounds)
    value = loss_of(head, level)
    mine, theirs = level.detach(), rounds[now].detach().clone().requires_grad_()
    want = by_hand.position_loss(mine, [p.detach() for p in rounds[:now]], theirs)
    torch.testing.assert_close(value, want)
    value.backward(), want.backward()
    torch.testing.assert_close(rounds[now].grad, theirs.grad)
    # Zero, so that data-parallel training has one for all; and named, so that no optimiser uses it.
    others = [p for i, p in enumerate(rounds) if i != now]
    assert all(not p.grad.any() for p in others)
    named = head.frozen_parameters()
    assert len(named) == 2 and all(p is q for p, q in zip(named, others, strict=True))
    assert head.projector.begun == now + 1
    head.projector.eval()
    head.projector.clock.step = 11
    loss_of(head, level)
    assert head.projector.begun == now + 1, 'to look is not to train'


def pretrainer(rounds=3):
    return MODELS.build(
        dict(
            type='densecl.SharedPretrainer',
            batch_statistics='held',
            frozen_layers=5,
            backbone=dict(type='densecl.TorchvisionResNet', arch='resnet18'),
            heads=dict(
                position=dict(
                    type='densecl.Head',
                    target=dict(type='densecl.Positions', patch=32),
                    units='densecl.Cells',
                    projector=dict(type='densecl.PositionPredictor', channels=512, rounds=rounds),
                    objective='densecl.Reconstruction',
                    pairs=((0, 0),),
                )
            ),
            data_preprocessor=dict(type='densecl.PretrainDataPreprocessor'),
        )
    )


def test_a_round_at_a_time_learns_and_the_backbone_stays():
    torch.manual_seed(0)
    model = pretrainer().train()
    model.clock.total, model.clock.epoch = 9, 9
    before = {name: x.clone() for name, x in model.state_dict().items()}
    views = views_of([torch.randn(2, 3, 96, 96)])
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-2, weight_decay=0.1)
    for step in range(9):
        rounds = [p.detach().clone() for p in model.heads.position.projector.rounds]
        optimizer.zero_grad()
        sum(x for name, x in model.loss(views).items() if name.startswith('loss')).backward()
        model.before_optimizer_step()
        optimizer.step()
        model.after_optimizer_step()
        after = model.heads.position.projector.rounds
        moved = [not torch.equal(a, b) for a, b in zip(rounds, after, strict=True)]
        assert moved == [i == step // 3 for i in range(3)], 'neither decay nor momentum moves the others'
    for name, x in model.state_dict().items():
        if name.startswith('backbone.'):
            assert torch.equal(x, before[name]), name


def test_the_length_of_the_run_is_asked_for():
    with pytest.raises(RuntimeError, match='PositionPredictor'):
        PositionPredictor(4, 2)(torch.zeros(1, 4, 2, 2))
    with pytest.raises(ValueError, match='rounds must be 1 or more'):
        PositionPredictor(4, 0)
