#!/usr/bin/env python
"""Train a byte-pair tokenizer on texts.

python tools/train_tokenizer.py texts.txt --size 8192 --out tokenizer.json
python tools/train_tokenizer.py captions.csv --columns caption --size 8192 --out tokenizer.json

Texts are a line each, or columns of a .csv, .tsv or .jsonl. The file is read by dict(type='Tokenizer',
path='tokenizer.json') and by Hugging Face.
"""

import argparse

from densecl.datasets.text import read_rows, train_tokenizer
from densecl.engine.one_line import call


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('texts', nargs='+', help='files of texts')
    parser.add_argument('--columns', nargs='+', help='names of the columns of tables that are texts')
    parser.add_argument('--size', type=int, required=True, help='number of token ids')
    parser.add_argument('--out', required=True, help='the json file to write')
    parser.add_argument('--keep-case', action='store_true', help='capitals stay capitals')
    return parser.parse_args()


def main() -> None:
    """Read, train, save, and say what was made."""
    args = parse_args()
    texts = [text for path in args.texts for _, row in read_rows(path, args.columns) for text in row]
    made = train_tokenizer(texts, args.size, args.out, args.keep_case)
    tokens = sum(len(found.ids) for found in made.encode_batch(texts))
    size = f'{made.get_vocab_size()} ids, {tokens / len(texts):.1f} tokens a text'
    print(f'{args.out}: {size} ({len(texts)} texts)')


if __name__ == '__main__':
    call(main)
