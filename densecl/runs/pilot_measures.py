"""The measurements of a pilot: frozen probes and short fine-tunings of each arm."""

from pathlib import Path
from typing import Any

from .pilot import _FIGURES, Record
from .run import Run


def probes(
    record: Record,
    run: Run,
    arms: tuple[str, ...],
    labelled: str | Path,
    test: str | Path | None,
    seeds: int,
    show,
) -> None:
    """Measure linear and retrieval segmentation for every arm and seed that the record lacks."""
    import torch
    from mmengine.registry import init_default_scope

    from densecl.engine.launch import read_config
    from densecl.evaluation.features import open_encoder, random_encoder
    from densecl.evaluation.labelled import open_labelled
    from densecl.evaluation.probes import probe
    from densecl.evaluation.segmentation import iou_counts
    from densecl.transfer.record import build_decoder

    todo = [(arm, s) for s in range(seeds) for arm in arms if not record.has(arm, s, 'linear', 'retrieval')]
    if not todo:
        return
    init_default_scope('densecl')
    config = read_config(str(run.config))
    opened = open_labelled(labelled, test, build_decoder(config))
    files = {'start': run.start, 'continued': run.best}
    for arm, seed in todo:
        encoder = random_encoder(config, seed) if arm == 'random' else open_encoder(files[arm], config=config)
        encoder = encoder.to('cuda' if torch.cuda.is_available() else 'cpu')
        probed = probe(encoder, opened, opened.use_size(), level(config), seed)
        found = probed.scores()
        counts = {kind: iou_counts(getattr(probed, kind)).tolist() for kind in found}
        record.add(arm, seed, counts, **{kind: score.mean for kind, score in found.items()})
        show(f'{arm}, seed {seed}: ' + ', '.join(f'{kind} mIoU {s.mean:.2f}' for kind, s in found.items()))


def level(config) -> int:
    """Index of the deepest map of a run's backbone; a class token may follow it."""
    heads = config.model.heads.values()
    levels = [head.units.get('level', -1) for head in heads if isinstance(head.get('units'), dict)]
    return min(levels, default=-1)


def fine_tunings(
    record: Record,
    run: Run,
    todo: list[tuple[str, int]],
    labelled: str | Path,
    test: str | Path | None,
    minutes: float,
    show,
) -> None:
    """Fine-tune every arm and seed, all for the number of steps that fit into ``minutes`` for the first."""
    from densecl.engine.launch import read_config
    from densecl.finetune import finetune, write_config

    for arm, seed in todo:
        folder = run.folder.parent / 'finetune' / f'{arm}_{seed}'
        known = record.facts.get('iters')
        length = dict(iters=known) if known else dict(minutes=minutes)
        config = write_config(weights_of(run, arm, seed), labelled, folder, val=test, seed=seed, **length)
        if not known:
            record.facts['iters'] = read_config(str(config)).train_cfg.max_iters
        figures = finetune(config, pictures=0)
        name = next((figure for figure in _FIGURES if figure in figures), None)
        if name is None:
            raise ValueError(f'{labelled}: no object to find among the images set apart; give --test')
        record.add(arm, seed, **{'fine-tuned': figures[name]})
        show(f'{arm}, seed {seed}: fine-tuned {name} {figures[name]:.2f}')


def weights_of(run: Run, arm: str, seed: int) -> Path:
    """The file that a fine-tuning of an arm starts from.

    Random weights are first written to a file; so is an RGB start that the run inflated for other images.
    """
    from mmengine.registry import init_default_scope

    from densecl.engine.launch import read_config
    from densecl.evaluation.features import open_encoder, random_encoder
    from densecl.transfer.record import decoder_config

    if arm == 'continued':
        return run.best
    init_default_scope('densecl')  # an earlier fine-tuning has set mmdet's or mmseg's scope
    config = read_config(str(run.config))
    if arm == 'start' and decoder_config(config) is None:
        return run.start
    if arm == 'random':
        config.start = dict(name='random')
        return write_backbone(random_encoder(config, seed), config, run.folder.parent / f'random_{seed}.pth')
    return write_backbone(open_encoder(run.start, config=config), config, run.folder.parent / 'start.pth')


def write_backbone(encoder, config, path: Path) -> Path:
    """Write the backbone of an encoder as a checkpoint, with the config that builds it."""
    import torch

    tensors = {f'backbone.{name}': value for name, value in encoder.backbone.state_dict().items()}
    meta: dict[str, Any] = dict(cfg=config.pretty_text, iter=0, epoch=0, experiment_name=path.stem)
    torch.save({'state_dict': tensors, 'meta': meta}, path)
    return path
