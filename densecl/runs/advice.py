"""Advice after a training, from the content of its folder."""

import shlex
from dataclasses import dataclass

from .folder import RunFolder, dig

_LOWER = 'Lower the learning rate of the backbone to a half or a third, or shorten the run.'


@dataclass(frozen=True)
class Advice:
    """The next step.

    Attributes:
        title: a few words.
        text: a sentence or two that say why.
        commands: to copy.
        good: True: use the run; False: do not use it as it is; None: not known yet.
    """

    title: str
    text: str
    commands: tuple[str, ...] = ()
    good: bool | None = None


def advise(run: RunFolder, beside: bool = False) -> Advice:
    """The next step for a run: wait, resume, export, stay with the start, lower the rate, or compare.

    Args:
        run: finished or not.
        beside: other runs are on the same page.
    """
    folder, refused = shlex.quote(str(run.folder)), run.guard.get('verdict') == 'refuse'
    told, chosen = str(run.guard.get('told', '')), run.guard.get('chosen')
    fallen = f'At its end the guard measured {run.guard.get("sentence", "nothing")}. {_LOWER}'
    if run.state == 'running':
        if refused:
            text = f'Dense quality has fallen: {run.guard.get("sentence", "")}. {_LOWER}'
            return Advice('Stop, and lower the rate', text, good=False)
        text = f'The {run.kind} is running{_progress(run)}.'
        return Advice('Wait', text, (f'densecl report {folder} --live',))
    if run.state == 'stopped':
        text = f'The {run.kind} was stopped{_progress(run)}; it goes on from its last checkpoint.'
        return Advice('Resume it', text, (_resume(run, folder),))
    if run.kind == 'fine-tuning' and beside:
        text = 'The figures stand side by side below. A small difference needs more seeds before it counts.'
        return Advice('Compare', text)
    if run.kind == 'fine-tuning':
        text = 'Compare it with its start, fine-tuned in the same way: only the difference is a gain.'
        return Advice('Compare', text, (f'densecl report {folder} RUN_FROM_THE_START',))
    probe = f'densecl probe {folder} --labelled my/coco.json --out {folder}/probe.json'
    if not told and run.probes:
        text = 'Probe its start in the same way: only the difference is a gain.'
        return Advice('Compare', text, (f'densecl report {folder} FOLDER_OF_THE_START',))
    if not told:
        text = 'No guard has compared it with its start. Measure it on labelled images before you use it.'
        return Advice('Measure it', text, (probe,))
    if chosen == 'start':
        text = f'Of what was measured nothing is better than the weights it began with. {fallen}'
        return Advice('Stay with your start', text, good=False)
    text = f'The guard chose “{chosen}”; export takes these weights (best_dense.pth).'
    if refused:
        text += f' Later ones are worse. {_LOWER}'
    elif not run.guard.get('labelled') and not run.probes:
        text += ' Without labels it sees damage, not gain: a probe on a few labelled images says more.'
    commands = (f'densecl export {folder} --to mmdet', *(() if run.probes else (probe,)))
    return Advice('Export it', text, commands, True)


def _progress(run: RunFolder) -> str:
    done, total = run.steps
    after = f' at step {done:,}' if done else ' before its first logged step'
    return f'{after} of {total:,} ({done / total:.0%})' if done and total else after


def _resume(run: RunFolder, folder: str) -> str:
    if (run.folder / 'settings.json').is_file():
        root = dig(run.config_values, ('train_dataloader', 'dataset', 'data_root')) or 'PHOTOS'
        photos = [root] if isinstance(root, str) else root
        return f'densecl pretrain {shlex.join(photos)} --out {folder} --resume'
    config = next(iter(sorted(run.folder.glob('*.py'))), None)
    return f'python tools/train.py {shlex.quote(str(config or "CONFIG"))} --work-dir {folder} --resume auto'
