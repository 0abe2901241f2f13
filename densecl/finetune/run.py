"""Train and test what a fine-tuning config says."""

import json
from pathlib import Path

_NAMES = {
    'coco/bbox_mAP': 'box AP',
    'coco/bbox_mAP_50': 'box AP50',
    'coco/segm_mAP': 'mask AP',
    'coco/segm_mAP_50': 'mask AP50',
    'mIoU': 'mIoU',
    'aAcc': 'pixel accuracy',
}


def finetune(config: str | Path, pictures: int = 16, amp: str | None = None) -> dict[str, float]:
    """Train, test the last checkpoint, and draw; everything goes into the folder of the config.

    Args:
        config: see :func:`densecl.finetune.write_config`.
        pictures: number of pictures, ground truth beside prediction, in ``pictures/``.
        amp: ``'bf16'`` or ``'fp16'`` trains in mixed precision.

    Returns:
        The figures of ``metrics.json``, in percent: ``box AP``, ``box AP50``, ``mask AP``, ``mIoU``, ...
    """
    import densecl.compat

    densecl.compat.install()
    import densecl.registry  # noqa: F401  (makes the scope "densecl" known)
    from densecl.engine import launch

    config = Path(config)
    cfg = launch.load_config(str(config), str(config.parent), None, 'none')
    if pictures:
        hook = dict(type='densecl.PredictionHook', out_dir=str(config.parent / 'pictures'), count=pictures)
        hook['decoder'] = cfg.get('decoder')
        cfg.custom_hooks = [*cfg.custom_hooks, hook]
    figures = train_and_test(cfg, amp)
    (config.parent / 'metrics.json').write_text(json.dumps(figures, indent=1))
    return figures


def train_and_test(cfg, amp: str | None = None) -> dict[str, float]:
    """Figures in percent of a detector or segmentor, after the training that its config says."""
    from densecl.engine import launch

    launch.save_on_signal(cfg)
    if amp:
        launch.use_amp(cfg, amp)
    length = cfg.train_cfg.get('max_iters', cfg.train_cfg.get('max_epochs'))
    if cfg.train_cfg.get('val_interval', 1) == length:
        cfg.train_cfg.val_interval = length + 1  # the test follows at once
    runner = launch.build_runner(cfg)
    runner.train()
    return in_percent(runner.test())


def in_percent(metrics: dict[str, float]) -> dict[str, float]:
    """The figures that a table shows; COCO's come as shares, mmseg's in percent."""
    return {
        name: round(float(metrics[key]) * (100 if key.startswith('coco') else 1), 2)
        for key, name in _NAMES.items()
        if key in metrics
    }
