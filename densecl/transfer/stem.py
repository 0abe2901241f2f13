"""From three channels to any number: the first convolution of a backbone for images of another sensor."""

import torch
from torch import Tensor

RGB = 3


def inflate_stem(tensors: dict[str, Tensor], channels: int) -> tuple[dict[str, Tensor], list[str]]:
    """Make the weights of a backbone for RGB those of one for images of ``channels`` channels.

    The filters of an added channel are the mean of those of the three; with less than three channels all are
    this mean. The stem is then scaled by 3 / ``channels`` (FINO, arXiv 2606.05107), so that a grey image
    repeated in all channels gives what it gave before. The bias stays. That the first three
    channels keep their own filters suits images whose first bands are red, green and blue.

    Args:
        tensors: name -> tensor; the stem is every 4-D weight with three input channels, of a convolution or
            a patch projection (a checkpoint of two branches has two).
        channels: of the images, 1 or more.

    Returns:
        The tensors, of which only the stems are new ones; and the names of the stems' parameters (weight, and
        bias where there is one), which are to be trained first.

    Raises:
        ValueError: no weight reads three channels, or ``channels`` is below 1.
    """
    if channels < 1:
        raise ValueError(f'channels must be at least 1, got {channels}')
    stems = [k for k, t in tensors.items() if t.ndim == 4 and t.shape[1] == RGB]
    if not stems:
        shapes = {k: tuple(t.shape) for k, t in tensors.items() if t.ndim == 4}
        first = next((f'{k} {shape}' for k, shape in shapes.items()), 'none')
        raise ValueError(
            f'there is no stem to inflate: expected a 4-D weight with {RGB} input channels, '
            f'{len(shapes)} are 4-D and have others (the first: {first})'
        )
    new = {k: _inflated(tensors[k], channels) for k in stems} if channels != RGB else {}
    biases = (k.removesuffix('weight') + 'bias' for k in stems)
    return {**tensors, **new}, stems + [k for k in biases if k in tensors]


def fit_stem(
    given: dict[str, Tensor], wanted: dict[str, Tensor]
) -> tuple[dict[str, Tensor], tuple[int, int] | None, list[str]]:
    """The file's tensors for a model that reads images of another number of channels.

    Args:
        given, wanted: the file's backbone and the model's, without prefix.

    Returns:
        ``given``, with an inflated stem where the file's has three channels and the model's another number;
        then (3, that number) and the names of the stem's parameters, else None and none.
    """
    found = other_channels(given, wanted)
    if found is None or found[1] != RGB:
        return given, None, []
    name, old, new = found
    own = {k: given[k] for k in (name, name.removesuffix('weight') + 'bias') if k in given}
    inflated, names = inflate_stem(own, new)
    return {**given, **inflated}, (old, new), names


def other_channels(given: dict[str, Tensor], wanted: dict[str, Tensor]) -> tuple[str, int, int] | None:
    """The stem, its channels in the file and in the model, where they differ; else None.

    A stem is the only weight that differs, and differs in its input channels alone.
    """
    differ = [k for k, t in wanted.items() if k in given and given[k].shape != t.shape]
    differ = [k for k in differ if given[k].ndim == 4]
    if len(differ) != 1:
        return None
    file, model = (tuple(side[differ[0]].shape) for side in (given, wanted))
    same = len(model) == 4 and file[:1] + file[2:] == model[:1] + model[2:]
    return (differ[0], file[1], model[1]) if same else None


def _inflated(weight: Tensor, channels: int) -> Tensor:
    """(O, 3, h, w) -> (O, channels, h, w)."""
    mean = weight.mean(1, keepdim=True)
    own = weight if channels > RGB else weight[:, :0]
    added = mean.expand(-1, channels - own.shape[1], -1, -1)
    return torch.cat([own, added], 1) * (RGB / channels)
