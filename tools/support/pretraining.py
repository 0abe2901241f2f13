"""What tools that look at one sample after the other of a pretraining have in common."""

from argparse import Namespace
from collections.abc import Iterator

import numpy as np
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch.utils.data import Dataset

from densecl.compat import load_checkpoint
from densecl.datasets import SampleKey
from densecl.engine.launch import read_config
from densecl.inputs import parse_config
from densecl.models.pretrainers import Pretrainer
from densecl.registry import DATASETS, MODELS
from densecl.structures import PretrainDataSample


def load_pretraining(args: Namespace) -> tuple[Pretrainer, Dataset]:
    """The model and the data set of ``args.checkpoint``: by ``args.config``, on ``args.photos``, if given."""
    saved = load_checkpoint(args.checkpoint)
    # The config that mmengine's runner left in a checkpoint is read and not run.
    cfg = read_config(args.config) if args.config else parse_config(saved.get('meta', {}).get('cfg'))
    if not cfg:
        raise SystemExit(f'{args.checkpoint} holds no config; give that of its pretraining with --config')
    cfg = cfg if isinstance(cfg, Config) else Config(cfg)
    init_default_scope(cfg.get('default_scope', 'densecl'))
    if args.photos:
        cfg.train_dataloader.dataset.data_root = args.photos
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    model = MODELS.build(cfg.model).eval()
    model.load_state_dict(saved['state_dict'])
    return model, dataset


def spread_samples(dataset: Dataset, most: int, epoch: int) -> Iterator[PretrainDataSample]:
    """At most ``most`` samples, evenly spread over the data set."""
    for index in np.linspace(0, len(dataset) - 1, min(most, len(dataset))).astype(int):
        yield dataset[SampleKey(epoch, int(index))]
