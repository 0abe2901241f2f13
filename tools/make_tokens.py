#!/usr/bin/env python
"""Make the file that the frozen target of a config reads: visual words (BEiT), or a teacher (VQ-KD).

python tools/make_tokens.py configs/beit/beit_vit-tiny_1xb64-coslr-16e_photos.py --start imagenet \
    --cfg-options train_dataloader.dataset.data_root=my/photos

The network, the number of codes, and the file that is written are those of the head's target. --start is what
it is filled with: of KMeansTokens and TeacherFeatures the weights of the network, as docs/starting-weights.md
names them; of VQKDTokens a VQ-KD run's checkpoint, or a released tokenizer of BEiT v2; of DALLETokens the
state dict of DALL-E's encoder. K-means works on training views of the config; of other codes their use is
counted there.
"""

import argparse

import torch
from mmengine.config import DictAction
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from densecl.engine.launch import load_config
from densecl.engine.one_line import call
from densecl.evaluation.tokens import code_shares, fill, fill_centres
from densecl.files import atomic_write
from densecl.models.targets import FrozenNetwork, KMeansTokens, Tokens
from densecl.registry import MODELS


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config of a pretraining with a head whose target has a file')
    parser.add_argument('--start', required=True, help='weights: a file or a name, as imagenet')
    parser.add_argument('--images', type=int, default=2000, help='on which codes are found or counted')
    parser.add_argument('--cells', type=int, default=100_000, help='of these images, that k-means gets')
    parser.add_argument('--seed', type=int, default=0, help='of the choice of cells and of the first centres')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='key=value, as in training')
    return parser.parse_args()


def main() -> None:
    """Build the model for its target and its normalisation, and run the training loader once."""
    args = parse_args()
    cfg = load_config(args.config, None, args.cfg_options, 'none')
    init_default_scope('densecl')
    model = MODELS.build(cfg.model)
    target = target_of(model)
    origin = fill(target, args.start)
    print('\n'.join(origin))
    shares = None
    if isinstance(target, KMeansTokens):
        shares = fill_centres(target, batches(model, cfg, args), args.cells, args.seed)
    elif isinstance(target, Tokens):
        shares = code_shares(target, batches(model, cfg, args))
    meta = dict(start=args.start, origin=origin, config=cfg.pretty_text, images=args.images)
    with atomic_write(target.file) as temporary:
        torch.save(dict(state_dict=target.state_dict(), meta=meta), temporary)
    print(f'{target.file}: {type(target).__name__}' if shares is None else said(target, shares))


def said(target: Tokens, shares: torch.Tensor) -> str:
    """How the codes are used."""
    entropy = torch.special.entr(shares).sum()
    return (
        f'{target.file}: {len(shares)} codes of {target.patch} px patches; {(shares > 0).sum()} are used, as '
        f'even as {entropy.exp():.0f} of equal shares; the most frequent has {shares.max():.2%} of the cells'
    )


def target_of(model: torch.nn.Module) -> FrozenNetwork:
    """The target of the first head that has such a network."""
    for head in model.heads.values():
        if isinstance(head.target, FrozenNetwork):
            return head.target
    raise SystemExit(
        "make_tokens: no head of this config has a target with a file, such as dict(type='KMeansTokens', ...)"
    )


def batches(model: torch.nn.Module, cfg, args: argparse.Namespace):
    """Images of the first view, batch by batch, until there are enough."""
    seen = 0
    for batch in Runner.build_dataloader(cfg.train_dataloader, seed=args.seed):
        images = model.data_preprocessor(batch)['inputs'].images[0]
        yield images[: args.images - seen]
        seen += len(images)
        if seen >= args.images:
            return


if __name__ == '__main__':
    call(main)
