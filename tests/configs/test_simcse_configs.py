"""Recipes of texts alone: a step each, on a small BERT of this machine; resumed; without waiting."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from torch._subclasses.fake_tensor import FakeTensorMode

from densecl.datasets import collate_views
from densecl.datasets.text import train_tokenizer
from densecl.engine.launch import build_runner, use_amp
from densecl.planning.fake import fake_copy
from densecl.registry import DATASETS, MODELS
from tests.engine.test_resume import same_checkpoint
from tests.models.played_device import PlayedDevice

transformers = pytest.importorskip('transformers')
CONFIGS = Path(__file__).parents[2] / 'configs/simcse'
PATHS = sorted(CONFIGS.glob('*.py'))
SMALL = CONFIGS / 'simcse_text-small_1xb64-linlr-4e_texts.py'
SUPERVISED = CONFIGS / 'simcse-sup_bert-base_4xb128-linlr-3e_nli.py'
COLORS = ('red', 'green', 'blue', 'black')


@pytest.fixture(scope='module')
def made(tmp_path_factory) -> Path:
    """16 texts, their triplets, a tokenizer, and a BERT of one narrow layer, as wide as BERT-base."""
    root = tmp_path_factory.mktemp('texts')
    texts = [f'a {color} {thing}' for color in COLORS for thing in ('car', 'boat', 'dog', 'house')]
    (root / 'texts.txt').write_text('\n'.join(texts))
    rows = [f'{text},the {text[2:]},no {text[2:]}' for text in texts]
    (root / 'texts.csv').write_text('\n'.join(['sent0,sent1,hard_neg', *rows]))
    train_tokenizer(texts, 300, root / 'tokenizer.json')
    sizes = dict(num_hidden_layers=1, intermediate_size=32, vocab_size=300, max_position_embeddings=32)
    # id 0 pads, in ours as in BERT's; it is a letter of no text here
    transformers.BertModel(transformers.BertConfig(**sizes)).save_pretrained(root)
    return root


def small(path: Path, made: Path, out: Path, **options) -> Config:
    """The recipe on these files, 4 texts a step."""
    cfg = Config.fromfile(path)
    dataset = cfg.train_dataloader.dataset
    dataset.data_root = str(made / f'texts.{"csv" if dataset.get("columns") else "txt"}')
    dataset.tokenizer.path = str(made / 'tokenizer.json')
    if 'folder' in cfg.model.backbone:
        cfg.model.backbone.folder = str(made)
    cfg.train_dataloader.update(batch_size=4, num_workers=0, persistent_workers=False, pin_memory=False)
    cfg.merge_from_dict(
        {
            'work_dir': str(out),
            'launcher': 'none',
            'train_cfg.max_epochs': 2,
            'default_hooks.checkpoint.by_epoch': False,
            'default_hooks.checkpoint.max_keep_ckpts': -1,
            'log_level': 'WARNING',
            'experiment_name': f'{path.stem}_{out.name}',
            **options,
        }
    )
    return cfg


@pytest.mark.parametrize('path', PATHS, ids=lambda path: path.stem)
def test_a_run_of_two_epochs(path, made, tmp_path):
    cfg = small(path, made, tmp_path / path.stem)
    cfg.default_hooks.checkpoint = None
    runner = build_runner(cfg)
    before = {n: p.clone() for n, p in runner.model.named_parameters()}
    runner.train()
    logged = runner.message_hub.log_scalars
    assert torch.isfinite(torch.tensor(logged['train/loss'].current()))
    assert {'train/loss_text', 'train/text_top1', 'train/text_pos_sim'} <= set(logged)
    still = [n for n, p in runner.model.named_parameters() if torch.equal(p, before[n])]
    # keys' biases shift all logits of a query alike: their gradient is 0 but for rounding
    assert [name for name in still if not name.endswith('key.bias')] == []


def test_it_resumes_from_the_middle_of_an_epoch(made, tmp_path):
    """Dropout is drawn from (seed, iteration, rank): the resumed run has the same."""
    build_runner(small(SMALL, made, tmp_path / 'whole', **{'default_hooks.checkpoint.interval': 3})).train()
    again = small(SMALL, made, tmp_path / 'again', **{'default_hooks.checkpoint.interval': 3})
    again.resume, again.load_from = True, str(tmp_path / 'whole/iter_3.pth')
    build_runner(again).train()
    same_checkpoint(*(tmp_path / run / 'iter_8.pth' for run in ('whole', 'again')))


def test_it_runs_in_bf16(made, tmp_path):
    cfg = small(SMALL, made, tmp_path / 'bf16')
    use_amp(cfg, 'bf16')
    cfg.default_hooks.checkpoint = None
    runner = build_runner(cfg)
    runner.train()
    assert torch.isfinite(torch.tensor(runner.message_hub.log_scalars['train/loss'].current()))


def losses_of(model, samples, autocast=False):
    views = model.data_preprocessor(collate_views(samples), True)['inputs']
    with torch.autocast('cpu', torch.float16, enabled=autocast):
        return model(views, mode='loss')


@pytest.mark.parametrize('path', [SMALL, SUPERVISED], ids=lambda path: path.stem)
def test_half_precision_is_near(path, made, tmp_path):
    """Without dropout: the same views, the same loss but for rounding, and finite gradients."""
    cfg = small(path, made, tmp_path)
    init_default_scope('densecl')
    model = MODELS.build(cfg.model).eval()
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    samples = [dataset[i] for i in range(4)]
    exact, near = (losses_of(model, samples, half)['loss_text'] for half in (False, True))
    torch.testing.assert_close(near, exact, rtol=3e-2, atol=3e-2)
    near.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize('path', [SMALL, SUPERVISED], ids=lambda path: path.stem)
def test_a_step_never_waits_for_the_device(path, made, tmp_path):
    cfg = small(path, made, tmp_path)
    init_default_scope('densecl')
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    samples, mode = [dataset[i] for i in range(4)], FakeTensorMode(allow_non_fake_inputs=True)
    model = fake_copy(mode, MODELS.build(cfg.model).train(), 'cuda')
    model.data_preprocessor._device = torch.device('cuda')
    wrapper, device = build_optim_wrapper(model, cfg.optim_wrapper), PlayedDevice(mode)
    wrapper.measure = True  # the gradient's norm, as when it is logged
    with device:
        losses = losses_of(model, samples)
        for parameter in model.parameters():
            parameter.grad = torch.empty_like(parameter)
        model.before_optimizer_step()
        wrapper.step()
        model.after_optimizer_step()
    assert losses['loss_text'].device.type == 'cuda' and not device.waits


def test_two_views_are_two_dropouts_of_one_pass(made, tmp_path):
    cfg = small(SMALL, made, tmp_path)
    init_default_scope('densecl')
    model = MODELS.build(cfg.model).train()
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    passes = []
    model.backbone.register_forward_hook(lambda module, given, out: passes.append(out))
    losses_of(model, [dataset[i] for i in range(4)])
    (vectors,) = passes
    first, second = vectors.chunk(2)
    assert len(first) == 4 and not torch.allclose(first, second)
