"""``densecl.pretrain``: from a folder of photos to a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

import densecl.registry  # noqa: F401  (makes the scope "densecl" known to every config)
from densecl.engine import launch
from densecl.engine.checks import claimed
from densecl.files import checkpoints_of, write_json, write_text
from densecl.visualization.backends import vis_backends

from .checks import (
    MADE,
    check_disk,
    check_folder_of_run,
    check_outside,
    find_photos,
    folders_of,
)
from .leak import leak_check
from .manifest import hash_files, make_manifest
from .plan import Plan, make_plan
from .run import Run
from .sensor import decoder_of_photos


def pretrain(
    photos: str | Path | list[str],
    start: str | Path | None = None,
    hours: float | None = None,
    out: str | Path = 'runs/pretrain',
    method: str | None = None,
    labelled: str | Path | None = None,
    size: int | None = None,
    resume: bool = False,
    measure: bool = True,
    options: dict[str, Any] | None = None,
    log_to: Sequence[str] = (),
    show=print,
) -> Run:
    """Pretrain a backbone on unlabelled photos, from given or random weights.

    Args:
        photos: one or several folders with images, also in subfolders.
        start: a file of weights of any common kind, ``'imagenet'``, a name of timm's or torchvision's, or
            ``'random'``; None takes ImageNet weights if they are installed.
        hours: the budget; with None the rules decide, at most two hours.
        out: folder of the run.
        method: such as ``'densecl'`` or ``'pixpro'``; see ``densecl.settings.recipes.recipe_names``.
        labelled: a COCO json, or a folder with ``images/`` and ``labels/``. The guard probes on it. Before
            the run, the user is told which of its scored images are among the photos.
        size: side of the views in pixels.
        resume: continue the run in ``out``; all other settings are those of its start.
        measure: before deciding, time two real steps instead of an estimate.
        options: changes of the config, ``{'optim_wrapper.optimizer.lr': 0.01}``.
        log_to: ``'tensorboard'``, ``'wandb'``, ``'mlflow'``, ``'trackio'``, in addition to the json files.
        show: called with each message for the user.

    Returns:
        The finished run.

    Raises:
        OSError, ValueError, RuntimeError, ImportError: the mistake, in one line.
    """
    folder = Path(out)
    check_folder_of_run(folder, resume)
    if resume:
        options = _options_of_going_on(folder, photos, options, log_to, show)
        given = dict(start=start, hours=hours, method=method, labelled=labelled, size=size)
        if unused := [f'--{name}' for name, value in given.items() if value is not None]:
            show(f'{", ".join(unused)}: not used, the run goes on with the settings of its config.py')
    else:
        check_outside(folder, folders_of(photos))
        plan = make_plan(photos, folder, start, hours, method, labelled, size, measure, options, log_to)
        show(str(plan))
        check_disk(folder, plan.disk)
        if labelled is not None:
            show(leak_check(plan.job.paths, labelled, decoder=decoder_of_photos(plan.job.paths)))
        folder.mkdir(parents=True, exist_ok=True)
    with claimed(folder):
        if not resume:
            check_folder_of_run(folder, resume)  # another run may have begun there while this one was planned
            write_run(plan)
        try:
            return train(folder, options, resume)
        except Exception:
            if not (resume or checkpoints_of(folder)):  # the same command can begin again
                (folder / 'config.py').unlink(missing_ok=True)
            raise


def _options_of_going_on(
    folder: Path, photos: str | Path | list[str], options: dict[str, Any] | None, log_to: Sequence[str], show
) -> dict[str, Any] | None:
    """The options with which a run goes on; the user is told what differs from its start."""
    _compare_photos(Run(folder), photos, show)
    own = Config.fromfile(folder / 'config.py', import_custom_modules=False).get('cfg_options') or {}
    if changed := [name for name, value in (options or {}).items() if own.get(name) != value]:
        show(f'{", ".join(changed)}: from here on as given now; the config.py of the run stays as it was')
    if log_to:
        options = {**(options or {}), 'visualizer.vis_backends': vis_backends(log_to, folder.name)}
    return options


def write_run(plan: Plan) -> None:
    """Write settings, manifest, starting weights and, last, the config, as its presence marks a run."""
    folder, start = plan.job.folder, plan.job.start
    settings = [vars(setting) for setting in plan.found.values()]
    values = {setting['name']: setting['value'] for setting in settings}
    for name in MADE:  # of a try that was refused
        (folder / name).unlink(missing_ok=True)
    write_json(folder / 'settings.json', settings)
    write_json(folder / 'manifest.json', make_manifest(plan.job.paths, values, start.record))
    if start.start is not None:
        start.start.save(folder / 'start.pth')
    write_text(folder / 'config.py', plan.text)


def train(folder: Path, options: dict[str, Any] | None = None, resume: bool = False) -> Run:
    """Train with the config of a run."""
    cfg = launch.load_config(str(folder / 'config.py'), str(folder), options, 'none')
    launch.use_resume(cfg, 'auto' if resume else None)
    launch.save_on_signal(cfg)
    cfg.custom_hooks.append(dict(type='ProgressHook'))
    launch.train(cfg)
    return Run(folder)


def _compare_photos(run: Run, photos: str | Path | list[str], show) -> None:
    """Tell the user if the photos have changed since the start of the run."""
    folders = folders_of(photos)
    known = run.manifest.get('photos', {})
    paths = find_photos(folders)
    if known and hash_files(paths) != known['sha256']:
        others = (
            f', not the {known["count"]}'
            if len(paths) != known['count']
            else ' with other names or sizes than those'
        )
        show(
            f'{", ".join(folders)}: {len(paths)} photos{others} that the run began with; it goes on with '
            'what its config names (for another folder: --cfg-options '
            'train_dataloader.dataset.data_root=FOLDER)'
        )
