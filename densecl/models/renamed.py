"""Names that are gone: whoever builds one is told what to write instead."""

from densecl.registry import MODELS

#: Old name -> what to write now. One line a name.
RENAMED = {
    'NegativeCosine': "write dict(type='Cosine'), with squared=True for squared_distance=True",
    'PixelConsistency': "write dict(type='Cosine', mean='images')",
    'RegionConsistency': "write dict(type='Cosine', squared=True, mean='counted')",
    'SlotContrast': "write objective=dict(cells=dict(type='SelfDistillation', mean='counted'), slots=...)",
}


def _gone(name: str, advice: str):
    def build(*args, **kwargs):
        raise ValueError(f'{name} is gone: {advice}')

    return build


for _name, _advice in RENAMED.items():
    MODELS.register_module(name=_name, module=_gone(_name, _advice))
