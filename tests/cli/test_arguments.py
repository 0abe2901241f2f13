"""Flags that several commands share become settings of the config."""

import argparse

import pytest

from densecl.cli import export, finetune, pilot, pretrain
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


@pytest.mark.parametrize(
    ('command', 'given'),
    [
        (pretrain, ['photos', '--size', '0']),
        (pilot, ['photos', '--labelled', 'a.json', '--seeds', '0']),
        (finetune, ['start', '--data', 'a.json', '--batch', '-3']),
        (finetune, ['start', '--data', 'a.json', '--lr', '0']),
        (finetune, ['start', '--data', 'a.json', '--minutes', '-1']),
    ],
)
def test_numbers_are_above_zero(command, given, capsys):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(given)
    assert f'argument {given[-2]}: must be above 0, got {given[-1]}' in capsys.readouterr().err


def test_commands_without_them():
    parser = argparse.ArgumentParser()
    add_options(parser)
    assert parsed_options(parser.parse_args(['--cfg-options', 'a=x'])) == {'a': 'x'}


def test_targets_of_an_export_are_all_named():
    from densecl.transfer.dialects import TARGETS

    assert export.TARGETS == TARGETS


@pytest.mark.parametrize(
    ('error', 'said', 'code'),
    [(SystemExit(143), 'stopped', 143), (KeyboardInterrupt(), 'interrupted', 130)],
)
def test_a_pilot_that_is_stopped_says_how_it_goes_on(error, said, code, densecl, monkeypatch):
    def stop(args):
        raise error

    monkeypatch.setattr(pilot, 'run', stop)
    wanted = f'densecl pilot: {said}; the same command goes on\n'
    assert densecl('pilot', 'photos', '--labelled', 'a.json')[::2] == (code, wanted)
