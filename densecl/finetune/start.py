"""The backbone that a fine-tuning starts from: its file, its config, and how its images are normalised."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from densecl.evaluation.guard import BEST, chosen_weights
from densecl.files import checkpoints_of
from densecl.inputs import parse_config
from densecl.transfer.check import IMAGENET
from densecl.transfer.prefixes import backbone_prefixes, under
from densecl.transfer.read import read_weights
from densecl.transfer.record import decoder_config, evaluated_branch, training_record


@dataclass(frozen=True)
class StartFile:
    """Weights on disk.

    Attributes:
        file: file for ``densecl.PretrainedHook``.
        title: its name for messages.
        backbone: config of the backbone in pretraining.
        record: the file's record; see :func:`densecl.transfer.record.training_record`.
        mean, std: normalisation of the images, 0 to 255, in the record's ``channel_order`` (RGB if unknown).
        from_scratch: the weights come from a pretraining that started from random weights.
        decoder: decoder of the images in pretraining; None for 8-bit RGB.
    """

    file: Path
    title: str
    backbone: dict[str, Any]
    record: dict[str, Any]
    mean: list[float]
    std: list[float]
    from_scratch: bool
    decoder: dict[str, Any] | None = None


def read_start(what: str | Path, out: Path) -> StartFile:
    """Read the start of a fine-tuning.

    Args:
        what: folder of a run, a checkpoint or export of densecl, or an argument of
            :func:`densecl.transfer.find_start`: any common file of weights, ``'imagenet'``.
        out: folder into which weights of other projects are written with the backbone's names.

    Raises:
        FileNotFoundError: no such file, or a run without checkpoint.
        ValueError: the network is not known.
    """
    path = Path(what)
    if path.is_dir():
        path = checkpoint_of(path)
    if path.is_file():
        weights = read_weights(path)
        own = parse_config(weights.meta.get('cfg') or weights.meta.get('config')).get('model') or {}
        if own.get('backbone'):
            return _own(path, weights, own['backbone'])
    return _other(what, out)


def checkpoint_of(folder: Path) -> Path:
    """The weights of a run: its guard's choice (maybe the start), else its newest checkpoint.

    The guard chooses at the end of the run.

    Raises:
        FileNotFoundError: there is no checkpoint.
    """
    chosen = chosen_weights(folder)
    found = [chosen] if chosen else [*checkpoints_of(folder), *folder.glob(BEST)]
    if not found:
        raise FileNotFoundError(
            f'{folder}: no checkpoint of a run in it; give a run, a file of weights or a name'
        )
    return found[0]


def _own(path: Path, weights, backbone: dict) -> StartFile:
    branch = evaluated_branch(weights)
    prefixes = backbone_prefixes(weights.tensors)
    tensors = under(weights.tensors, prefixes[0]) if prefixes else weights.tensors
    record = training_record(weights, tensors, branch)
    images = {name: record.get(name) or IMAGENET[name] for name in IMAGENET}
    config = parse_config(record.get('config'))
    begun = config.get('start') or {}
    decoder = decoder_config(config)
    known = begun.get('name') if isinstance(begun, dict) else begun
    title = f'{path} ({record.get("origin") or record.get("config_name") or "densecl"})'
    scratch = known in (None, 'random') and not record.get('origin')
    return StartFile(path.resolve(), title, backbone, record, **images, from_scratch=scratch, decoder=decoder)


def _other(what: str | Path, out: Path) -> StartFile:
    from densecl.transfer import find_start

    start = find_start(what)
    file = start.save(out / 'start.pth')
    record = read_weights(file).meta
    mean, std = list(start.mean), list(start.std)
    return StartFile(file.resolve(), f'{what} ({start.origin})', start.backbone, record, mean, std, False)
