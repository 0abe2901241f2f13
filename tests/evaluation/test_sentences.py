"""Agreement of text vectors with scores, and the tool that prints it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config

from densecl.datasets import Tokenizer
from densecl.datasets.text import train_tokenizer
from densecl.evaluation.features import build_offline
from densecl.evaluation.sentences import (
    SentenceEncoder,
    load_sentence_encoder,
    read_pairs,
    sentence_similarity,
)
from densecl.models.pretrainers import SharedPretrainer
from densecl.registry import MODELS

ROOT = Path(__file__).parents[2]
SMALL = ROOT / 'configs/simcse/simcse_text-small_1xb64-linlr-4e_texts.py'


def test_pairs_of_a_file(tmp_path):
    path = tmp_path / 'pairs.tsv'
    path.write_text('score\tsentence1\tsentence2\n4.5\ta dog\ta hound\n0\ta dog\ta boat\n')
    first, second, scores = read_pairs(path)
    assert (first, second, scores.tolist()) == (['a dog'] * 2, ['a hound', 'a boat'], [4.5, 0])
    path.write_text('score\tsentence1\tsentence2\nfour\ta dog\ta hound\n')
    with pytest.raises(ValueError, match="pairs.tsv, line 2: the score 'four' is no number"):
        read_pairs(path)


def test_own_pairs():
    """Those of the page of SimCSE."""
    first, second, scores = read_pairs(ROOT / 'tests/data/sts.tsv')
    assert len({*zip(first, second, strict=True)}) == 40 and scores.min() == 0 and scores.max() == 5


class Bag(torch.nn.Module):
    """How often each letter is in a text: a tower whose similarities are known."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def encode(self, texts):
        return torch.tensor([[text.count(letter) for letter in 'abc'] for text in texts])

    def forward(self, tokens):
        return tokens.float()


def test_agreement_alignment_and_uniformity():
    bag = Bag()
    found = sentence_similarity(
        SentenceEncoder(bag, bag), ['a', 'a', 'a'], ['a', 'ab', 'b'], torch.tensor([5.0, 3, 0]), positive=4
    )
    assert found['spearman'] == pytest.approx(1) and found['alignment'] == pytest.approx(0)
    # a, ab, b on the sphere: squared distances 2 - sqrt(2) twice, and 2
    distances = np.array([2 - 2**0.5, 2 - 2**0.5, 2])
    assert found['uniformity'] == pytest.approx(np.log(np.exp(-2 * distances).mean()), abs=1e-6)


@pytest.fixture
def trained(tmp_path):
    """A checkpoint of the small recipe, and its pairs."""
    texts = ['a red car', 'a blue boat', 'the dog sleeps']
    train_tokenizer(texts, 280, tmp_path / 'tokenizer.json')
    cfg = Config.fromfile(SMALL)
    cfg.model.backbone.update(vocab_size=300, width=32, depth=1, heads=2)
    cfg.model.heads.text.projector.channels = (32, 32)
    cfg.train_dataloader.dataset.tokenizer.path = str(tmp_path / 'tokenizer.json')
    model = MODELS.build(cfg.model)
    state = dict(state_dict=model.state_dict(), meta=dict(cfg=cfg.pretty_text))
    torch.save(state, tmp_path / 'epoch_1.pth')
    cfg.dump(tmp_path / 'config.py')
    (tmp_path / 'sts.tsv').write_text(
        'sentence1\tsentence2\tscore\na red car\ta car\t5\na red car\tthe dog\t0\na\tb\t1\n'
    )
    return tmp_path, model.eval()


@pytest.mark.parametrize('through', [False, True])
def test_tower_of_a_checkpoint(trained, through):
    folder, model = trained
    encoder = load_sentence_encoder(folder / 'epoch_1.pth', through_projector=through)
    tokens = Tokenizer(folder / 'tokenizer.json', 32).encode(['a red car'])
    expected = model.backbone(tokens)
    expected = model.heads['text'].projector(expected) if through else expected
    torch.testing.assert_close(encoder.encode(['a red car']), torch.nn.functional.normalize(expected))
    assert not encoder.training


def test_tool(trained):
    folder, _ = trained
    command = [sys.executable, ROOT / 'tools/sts.py', folder / 'epoch_1.pth', '--pairs', folder / 'sts.tsv']
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.keys() == {'spearman', 'alignment', 'uniformity'}
    assert found['uniformity'] < 0 < found['alignment']
    command[2:3] = ['start', '--config', folder / 'config.py']
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and json.loads(done.stdout.splitlines()[-1]).keys() == found.keys()


def test_a_tower_of_random_values_is_built_without_weights(tmp_path):
    transformers = pytest.importorskip('transformers')
    sizes = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=4, intermediate_size=64)
    transformers.BertConfig(**sizes, vocab_size=30).save_pretrained(tmp_path)
    config = dict(type='densecl.HuggingFaceText', folder=str(tmp_path), pretrained=False)
    assert build_offline(config).width == 16


def test_a_run_of_images_is_refused(tmp_path):
    with pytest.raises(ValueError, match='is of no text pretraining'):
        load_sentence_encoder(None, dict(model=dict(), train_dataloader=dict(dataset=dict())))


def test_the_tower_starts_another_model(trained):
    """``PretrainedHook(part=...)``: a text tower of a CLIP, here of a head's target."""
    from densecl.transfer import PretrainedHook
    from densecl.transfer.hooks import _part

    folder, model = trained
    tower = dict(model_of(folder).backbone, projection=8)
    other = SharedPretrainer(
        backbone=dict(type='densecl.TorchvisionResNet', arch='resnet18'),
        heads=dict(
            image=dict(
                projector=dict(type='densecl.MLP', channels=(512, 8)),
                target=dict(type='densecl.Text', tower=tower),
                objective=dict(type='densecl.InfoNCE', queue=0, batch='keys'),
                pairs=((0, 0),),
            )
        ),
    )
    hook = PretrainedHook(str(folder / 'epoch_1.pth'), min_match=0.9, part='heads.image.target.tower')
    target = _part(other, hook.part)
    hook._load(target)
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(target.state_dict()[name], value)
    with pytest.raises(ValueError, match="the model has no part 'text.tower'"):
        _part(other, 'text.tower')


def model_of(folder: Path):
    return Config.fromfile(folder / 'config.py').model
