"""Names that configs no longer have: building one says the new spelling."""

from densecl.registry import MODELS

#: Old name -> what to write now.
RENAMED = {
    'Decoupled': 'InfoNCE(decoupled=True, sigma=...) takes its place: leave positives= out',
    'MaskContrast': "objective=dict(type='InfoNCE', queue=0, batch='units+own') takes its place",
    'MultiPositive': (
        "objective=dict(type='InfoNCE', queue=0, batch='image', form='in', mean='counted') takes its place "
        "(PixContrast); with a queue: dict(type='InfoNCE', queue=65536, form='out', mean='images') (SetSim)"
    ),
    'Reweighted': 'InfoNCE(reweighted=True) takes its place: leave positives= out',
    'WindowInfoNCE': (
        "objective=dict(type='InfoNCE', queue=0, batch='others', mean='counted') takes its place"
    ),
}


def forget(name: str, instead: str) -> None:
    """Register a name whose building raises one sentence."""

    def gone(*args, **kwargs):
        raise ValueError(f'{name} is no longer a model: {instead}')

    MODELS.register_module(name=name, module=gone)


for _name, _instead in RENAMED.items():
    forget(_name, _instead)
