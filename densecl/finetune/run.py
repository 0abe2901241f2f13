"""Trains and tests a fine-tuning config."""

from pathlib import Path

from densecl.files import write_json

_NAMES = {
    'coco/bbox_mAP': 'box AP',
    'coco/bbox_mAP_50': 'box AP50',
    'coco/segm_mAP': 'mask AP',
    'coco/segm_mAP_50': 'mask AP50',
    'mIoU': 'mIoU',
    'aAcc': 'pixel accuracy',
}


def finetune(config: str | Path, pictures: int = 16, resume: bool = False) -> dict[str, float]:
    """Train, test the last checkpoint, and draw pictures; all output goes into the config's folder.

    Args:
        config: see :func:`densecl.finetune.write_config`.
        pictures: number of pictures, ground truth beside prediction, in ``pictures/``.
        resume: go on from the newest whole checkpoint in the folder, if there is one.

    Returns:
        The figures of ``metrics.json``, in percent: ``box AP``, ``box AP50``, ``mask AP``, ``mIoU``, ...
    """
    import densecl.registry  # noqa: F401  (makes the scope "densecl" known)
    from densecl.engine import launch

    config = Path(config)
    cfg = launch.load_config(str(config), str(config.parent), None, 'none')
    if pictures:
        hook = dict(type='densecl.PredictionHook', out_dir=str(config.parent / 'pictures'), count=pictures)
        hook['decoder'] = cfg.get('decoder')
        cfg.custom_hooks = [*cfg.custom_hooks, hook]
    launch.use_resume(cfg, 'auto' if resume else None)
    figures = train_and_test(cfg)
    write_json(config.parent / 'metrics.json', figures)
    return figures


def train_and_test(cfg) -> dict[str, float]:
    """Train a config, then return the figures of its detector or segmentor in percent."""
    from densecl.engine import launch

    launch.save_on_signal(cfg)
    length = cfg.train_cfg.get('max_iters', cfg.train_cfg.get('max_epochs'))
    if cfg.train_cfg.get('val_interval', 1) == length:
        cfg.train_cfg.val_interval = length + 1  # no validation, as the test follows the training
    runner = launch.build_runner(cfg)
    runner.train()
    return in_percent(runner.test())


def in_percent(metrics: dict[str, float]) -> dict[str, float]:
    """The figures for a table, in percent; COCO's are given as shares, mmseg's already in percent.

    COCO's is negative where there is nothing to find; then there is no figure.
    """
    return {
        name: round(float(metrics[key]) * (100 if key.startswith('coco') else 1), 2)
        for key, name in _NAMES.items()
        if metrics.get(key, -1) >= 0
    }
