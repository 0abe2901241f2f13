"""Old names of config types: building one is an error that says what to write now."""

from densecl.registry import MODELS

#: Old name -> what to write now.
RENAMED = {
    'ImageHead': "leave type out, units='Image' is the default",
    'DenseHead': "units='Cells'",
    'PixelHead': "units='Cells', with InfoNCE(batch='image') or Cosine(mean='images')",
    'PooledHead': "units=dict(type='Image', project='cells')",
    'LocalHead': "units='Cells', matching=[...], pairs=((0, 1), (1, 0))",
    'PrototypeHead': "units='Prototypes', pairs='crops'",
    'RegionHead': "units=dict(type='Boxes', regions='overlap', bins=1), regions by OverlapBoxes in MultiView",
    'ObjectHead': "units=dict(type='Boxes', levels=...), matching='SameId'",
    'MaskHead': "units='Masks', matching=dict(type='SameId', share_repeats=True)",
    'WindowHead': "units='Windows', InfoNCE(batch='others'), regions by SlidingWindows in MultiView",
    'SlotHead': "units='Groups', with matching and objective for cells and slots",
    'PatchesHead': "units=dict(type='Patches', images=1)",
    'MultiLevelHead': "units=dict(type='Patches', levels=dict(...)), with a pair for each term and level",
    'NegativeCosine': "dict(type='Cosine'), with squared=True for squared_distance=True",
    'PixelConsistency': "dict(type='Cosine', mean='images')",
    'RegionConsistency': "dict(type='Cosine', squared=True, mean='counted')",
    'MultiPositive': "dict(type='InfoNCE', queue=0, batch='image', form='in', mean='counted')",
    'WindowInfoNCE': "dict(type='InfoNCE', queue=0, batch='others', mean='counted')",
    'MaskContrast': "dict(type='InfoNCE', queue=0, batch='units+own')",
    'SlotContrast': "SelfDistillation(mean='counted') for cells, InfoNCE(batch='units') for slots",
    'Decoupled': 'InfoNCE(decoupled=True, sigma=...)',
    'Reweighted': 'InfoNCE(reweighted=True)',
}


def forget(name: str, instead: str) -> None:
    """Register an old name: building it raises a ValueError with the new spelling."""

    def gone(*args, **kwargs):
        raise ValueError(f'{name} is gone, write {instead}; docs/methods.md shows every method')

    MODELS.register_module(name=name, module=gone)


for _name, _instead in RENAMED.items():
    forget(_name, _instead)
