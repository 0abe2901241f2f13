"""Flags that several commands share become settings of the config."""

import argparse

import pytest

from densecl.cli.arguments import add_options, add_pretraining, parsed_options


@pytest.mark.parametrize(
    ('given', 'want'),
    [
        ([], None),
        (['--compile'], {'model.compile_backbone': True}),
        (
            ['--checkpoint-activations', '--cfg-options', 'a.b=2'],
            {'model.checkpoint_activations': True, 'a.b': 2},
        ),
        (['--compile', '--cfg-options', 'model.compile_backbone=False'], {'model.compile_backbone': False}),
    ],
)
def test_flags_of_the_backbone(given, want):
    parser = argparse.ArgumentParser()
    add_pretraining(parser)
    assert parsed_options(parser.parse_args(['photos', *given])) == want


def test_commands_without_them():
    parser = argparse.ArgumentParser()
    add_options(parser)
    assert parsed_options(parser.parse_args(['--cfg-options', 'a=x'])) == {'a': 'x'}
