"""A head whose target is the text: values, gradients into both towers, and what it refuses."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from densecl.models.losses import functional as L
from densecl.models.pretrainers import MomentumPretrainer, SharedPretrainer
from densecl.models.targets import Text
from densecl.numerics import unit
from densecl.registry import MODELS
from tests.models.heads.made import views_of

BATCH, LENGTH, WORDS, DIM = 5, 4, 11, 6
CENTRED = dict(type='densecl.SelfDistillation', prototypes=DIM)
LEARNED = dict(type='densecl.LearnedTemperature', start=0.1)


@MODELS.register_module()
class BagOfWords(nn.Module):
    """A text tower: the mean of the tokens' vectors, projected."""

    def __init__(self, words=WORDS, width=DIM):
        super().__init__()
        self.words = nn.Embedding(words, 7)
        self.last = nn.Linear(7, width)
        self.dropout = nn.Dropout(0.5)
        self.width, self.context_length = width, LENGTH

    def forward(self, tokens):
        return self.last(self.words(tokens).mean(1))


@MODELS.register_module()
class Eight(nn.Module):
    """A backbone of one convolution."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 8, stride=8)

    def forward(self, x):
        return self.conv(x).tanh()


def head(**kwargs):
    given = dict(
        projector=dict(type='densecl.MLP', channels=(8, DIM)),
        target=dict(type='densecl.Text', tower=dict(type='BagOfWords')),
        objective=dict(type='densecl.InfoNCE', queue=0, batch='keys', temperature=LEARNED),
        pairs=((0, 0),),
        both_ways=True,
    )
    return {**given, **kwargs}


def build(kind=SharedPretrainer, **kwargs):
    torch.manual_seed(0)
    model = kind(backbone=dict(type='Eight'), heads=dict(text=head(**kwargs)))
    model.init_weights()
    return model.double().train()


def batch(captions=None, views=1):
    generator = torch.Generator().manual_seed(1)
    shape = (BATCH, LENGTH) if captions is None else (BATCH, captions, LENGTH)
    images = torch.randn(views, BATCH, 3, 16, 16, generator=generator).double()
    return views_of(images, tokens=torch.randint(0, WORDS, shape, generator=generator))


def both(model, views, view=0, tokens=None):
    """Unit vectors of images and texts, with gradient."""
    part = model.heads['text']
    image = part.projector(model.backbone(views.images[view]).mean((2, 3)))
    return unit(image), unit(part.target.tower(views.tokens if tokens is None else tokens))


@pytest.mark.parametrize('kind', [SharedPretrainer, MomentumPretrainer])
def test_the_loss_is_clips_and_reaches_every_parameter(kind):
    model, views = build(kind), batch()
    logged = model(views, mode='loss')
    scale = model.heads['text'].objective.temperature.log_scale
    want = L.clip_loss(*both(model, views), scale.exp())
    torch.testing.assert_close(logged['loss_text'], want, rtol=0, atol=1e-9)
    assert 0 <= logged['text_top1'] <= 1
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert any('target.tower.words' in n for n in trained)
    got = torch.autograd.grad(logged['loss_text'], trained.values())
    for name, mine, theirs in zip(trained, got, torch.autograd.grad(want, trained.values()), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-9, msg=name)
        assert mine.abs().sum() > 0, name


def test_one_way_is_the_images_direction():
    model, views = build(both_ways=False), batch()
    image, text = both(model, views)
    want = F.cross_entropy(image @ text.T / 0.1, torch.arange(BATCH))
    torch.testing.assert_close(model(views, mode='loss')['loss_text'], want, rtol=0, atol=1e-6)


def test_a_stopped_gradient_leaves_the_tower_as_it_is():
    model, views = build(both_ways=False, stop_gradient=True), batch()
    model(views, mode='loss')['loss_text'].backward()
    assert not any(p.grad is not None and p.grad.any() for p in model.heads['text'].target.parameters())
    assert model.backbone.conv.weight.grad.abs().sum() > 0


def test_the_tower_trains_with_the_head_and_rests_with_it():
    model = build()
    tower = model.heads['text'].target.tower
    assert tower.dropout.training
    model.eval()
    assert not tower.dropout.training


def test_a_view_has_the_caption_of_its_number():
    model, views = build(pairs=((0, 0), (1, 1))), batch(captions=2, views=2)
    scale = model.heads['text'].objective.temperature.log_scale.exp()
    each = [L.clip_loss(*both(model, views, v, views.tokens[:, v]), scale) for v in range(2)]
    torch.testing.assert_close(model(views, mode='loss')['loss_text'], sum(each) / 2)


def test_sigmoid_contrast_needs_one_direction():
    model, views = build(both_ways=False, objective='densecl.SigmoidContrast'), batch()
    image, text = both(model, views)
    got = model(views, mode='loss')['loss_text']
    torch.testing.assert_close(got, L.siglip_loss(image, text, 10.0, -10.0), rtol=0, atol=1e-6)
    got.backward()
    assert model.heads['text'].objective.bias.grad.abs() > 0


@pytest.mark.parametrize('choice', [
    dict(negatives=dict(type='densecl.Debiased', prior=0.1)),
    dict(negatives=dict(type='densecl.Hard', prior=0.1, concentration=0.5)),
    dict(decoupled=True),
    dict(temperature=0.1, negatives=dict(type='densecl.Mixing', hardest=3, pairs=4, with_query=2, start=0)),
])  # fmt: skip
def test_variants_of_infonce_score_texts(choice):
    objective = dict(type='densecl.InfoNCE', queue=0, batch='keys', **{'temperature': LEARNED, **choice})
    model, views = build(objective=objective), batch()
    loss = model(views, mode='loss')['loss_text']
    loss.backward()
    assert loss.isfinite()
    assert model.heads['text'].target.tower.words.weight.grad.abs().sum() > 0


def test_the_scale_stays_at_its_limit_and_can_come_back():
    model, views = build(), batch()
    scale = model.heads['text'].objective.temperature.log_scale
    with torch.no_grad():
        scale.fill_(9.0)
    model(views, mode='loss')['loss_text'].backward()
    torch.testing.assert_close(scale.exp().item(), 100.0, rtol=1e-6, atol=0)
    assert scale.grad.abs() > 0


@pytest.mark.parametrize(('change', 'said'), [
    (dict(target=None), "take a target that is trained, such as dict\\(type='Text'"),
    (dict(target=dict(type='densecl.Pixels', patch=8)), 'has no gradient here'),
    (dict(predictor=dict(type='densecl.MLP', channels=(DIM, DIM))), 'leave predictor out'),
    (dict(stop_gradient=True), 'to which stop_gradient=True lets none'),
    (dict(objective=dict(type='densecl.InfoNCE', dim=DIM, queue=8)), 'Queue of objective=InfoNCE'),
    (dict(objective=dict(type='densecl.InfoNCE', queue=0, batch='keys',
                         negatives=dict(type='densecl.GloFND', images=BATCH))), 'PerImage of'),
    (dict(units='densecl.Prototypes', objective=CENTRED), 'SelfDistillation of objective=SelfDistillation'),
    (dict(units='densecl.Cells', objective=dict(type='densecl.Sum', objectives=[
        dict(type='densecl.Cosine'), dict(type='densecl.OnlineClusters', dim=DIM, clusters=DIM)])),
     'OnlineClusters of objective=Sum'),
    (dict(units='densecl.Cells',
          objective=dict(type='densecl.Adversarial', discriminator=dict(type='Eight'))), 'Adversarial of'),
])  # fmt: skip
def test_what_has_no_second_direction_is_refused(change, said):
    with pytest.raises(ValueError, match=said):
        build(**change)


def test_what_keeps_nothing_of_the_keys_has_two_directions():
    model = build(units='densecl.Prototypes', objective=dict(CENTRED, centering='sinkhorn'))
    assert model.heads['text'].both_ways


def test_a_batch_without_tokens_is_refused():
    views = batch()
    views.tokens = None
    with pytest.raises(ValueError, match='the batch has none: give the data set'):
        build()(views, mode='loss')


def test_the_target_is_a_level_of_one_cell():
    levels = Text(BagOfWords())(batch().tokens)
    assert [level.shape for level in levels] == [(BATCH, DIM, 1, 1)]
