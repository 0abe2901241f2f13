#!/usr/bin/env python
"""Compare similarities of texts with scores that people gave: Spearman's rank correlation, as STS tasks do.

python tools/sts.py work_dirs/.../epoch_1.pth --pairs sts.tsv
python tools/sts.py start --config CONFIG --pairs sts.tsv     # the tower before it was trained

The file is a .tsv, .csv or .jsonl with sentence1, sentence2 and score (or --columns). Printed beside it:
alignment of the pairs above --positive, and uniformity of all texts.
"""

import argparse
import json

import torch
from mmengine.registry import init_default_scope

import densecl.registry  # noqa: F401
from densecl.engine.launch import read_config
from densecl.engine.one_line import call
from densecl.evaluation.sentences import load_sentence_encoder, read_pairs, sentence_similarity


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoint', help='of a text pretraining, or "start"')
    parser.add_argument('--pairs', required=True, help='the table of pairs')
    columns = ('sentence1', 'sentence2', 'score')
    parser.add_argument('--columns', nargs=3, default=columns, help='names of texts and score in it')
    parser.add_argument(
        '--positive', type=float, default=4.0, help='alignment is of pairs with more than this'
    )
    parser.add_argument('--config', help='whose tower is built; that of the checkpoint by default')
    parser.add_argument('--tokenizer', help='its file or folder, where it has moved')
    parser.add_argument('--seed', type=int, default=0, help='of the random values of "start"')
    parser.add_argument('--through-projector', action='store_true', help='keep the MLP (supervised SimCSE)')
    return parser.parse_args()


def main() -> None:
    """Encode, compare, print one line of json."""
    args = parse_args()
    init_default_scope('densecl')
    torch.manual_seed(args.seed)
    config = read_config(args.config) if args.config else None
    checkpoint = None if args.checkpoint == 'start' else args.checkpoint
    encoder = load_sentence_encoder(checkpoint, config, args.tokenizer, args.through_projector)
    found = sentence_similarity(encoder, *read_pairs(args.pairs, args.columns), args.positive)
    print(json.dumps({name: round(value, 4) for name, value in found.items()}))


if __name__ == '__main__':
    call(main)
