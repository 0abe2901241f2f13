"""The figures of ``densecl probe``, printed and written."""

from dataclasses import asdict
from pathlib import Path
from statistics import mean, stdev


def report(found, labelled, retrieval: dict) -> None:
    """Print each probe's figure with what it depends on.

    Args:
        found: :class:`~densecl.evaluation.probes.Probed`.
        labelled: the set.
        retrieval: settings of the retrieval probe.
    """
    classes, scores = labelled.classes, found.scores()
    memory = 'memory {} x {cells} cells at most, k {k} at most, temperature {temperature}'
    memory = memory.format(len(labelled.train), **retrieval)
    for kind, said in (('linear', ''), ('retrieval', f'   ({memory})')):
        if kind in scores:
            print(f'{kind:<10} mIoU {scores[kind].mean:6.2f}{said}')
    width = max(map(len, classes))
    absent = next(iter(scores.values())).absent if scores else ()
    for i, name in enumerate(classes if scores else ()):
        if i in absent:
            continue
        values = (f'{kind} {score.per_class[i]:6.2f}' for kind, score in scores.items())
        print(f'  {name:<{width}}  {"   ".join(values)}')
    if scores:
        print(f'absent from the test part and not in the mean: {_names(absent, classes)}')
    if found.clusters:
        _report_clusters(found.clusters)
    if found.discovery:
        _report_discovery(found.discovery)
    if found.boxes:
        _report_boxes(found.boxes, classes)


def _report_clusters(clusters) -> None:
    for each in clusters:
        figures = (
            f'{name} {mean(values):6.2f} +- {stdev(values):.2f}'
            for name, values in (('one-to-one', each.hungarian), ('many-to-one', each.many))
        )
        seeds = f'{each.cells} test cells, {len(each.many)} seeds'
        print(f'clusters   mIoU {"   ".join(figures)}   (K {each.clusters}, {seeds})')
    print('  mean over all classes; one that is absent from the test part counts 0')


def _report_discovery(found) -> None:
    print(f'discovery  CorLoc {found.corloc:6.2f}   boxes as large as the image {found.whole:.2f}', end='   ')
    print(
        f'({found.images} images, {found.without} without a box left out, {found.cells} cells, k {found.k})'
    )


def _report_boxes(found, classes: tuple[str, ...]) -> None:
    said = f'memory {found.memory} boxes, {found.tested} to classify, k {found.k}'
    print(
        f'boxes      mean of classes: kNN {found.knn["mean_class"]:6.2f}, linear '
        f'{found.linear["mean_class"]:6.2f}   all boxes: kNN {found.knn["top1"]:6.2f}, linear '
        f'{found.linear["top1"]:6.2f}   ({said}, temperature {found.temperature})'
    )
    print(f'  without a test box and not in the mean: {_names(found.absent, classes)}')
    if found.unseen:
        print(f'  without a box to learn from, counted as 0: {_names(found.unseen, classes)}')


def _names(ids: tuple[int, ...], classes: tuple[str, ...]) -> str:
    more = f' and {len(ids) - 20} more' if len(ids) > 20 else ''
    return (', '.join(classes[i] for i in ids[:20]) or 'none') + more


def save(path: Path, content: dict, labelled, found) -> None:
    """Write the figures, and ``content``, what they are of, as json."""
    from densecl.files import write_json

    seconds = {name: round(value, 2) for name, value in found.seconds.items()}
    content |= dict(classes=labelled.classes, seconds=sum(found.seconds.values()), seconds_of=seconds)
    content |= dict(train_images=len(labelled.train), test_images=len(labelled.test))
    content |= {name: vars(score) for name, score in found.scores().items()}
    if found.clusters:
        content['clusters'] = [asdict(each) for each in found.clusters]
    content |= {name: asdict(each) for name in ('discovery', 'boxes') if (each := getattr(found, name))}
    write_json(path, content)
