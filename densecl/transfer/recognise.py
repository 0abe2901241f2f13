"""Which network are these tensors? Asked of names and shapes."""

from torch import Tensor

from .efficientnet import read_efficientnet
from .network import Network
from .prefixes import under
from .read import Weights

# A tensor by which each family shows where in a file it stands, and who reads it from there.
_FAMILIES = {
    '_conv_stem.weight': read_efficientnet,
    'blocks.0.0.conv_dw.weight': read_efficientnet,
}


def recognise(weights: Weights) -> Network:
    """The network in a file.

    Raises:
        ValueError: none that is known.
    """
    for mark, read in _FAMILIES.items():
        for prefix in _prefixes(weights.tensors, mark):
            network = read(under(weights.tensors, prefix))
            if network is not None:
                return network
    names = ', '.join(list(weights.tensors)[:4])
    raise ValueError(
        f'{weights.source}: no network that is known ({len(weights.tensors)} tensors: {names}, ...); '
        'known are EfficientNets'
    )


def _prefixes(tensors: dict[str, Tensor], mark: str) -> list[str]:
    found = {key.removesuffix(mark) for key in tensors if key.endswith(mark)}
    return sorted((p for p in found if not p or p.endswith('.')), key=len)
