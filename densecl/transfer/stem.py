"""Inflates the first convolution of a backbone from three channels to those of another sensor."""

import torch
from torch import Tensor

RGB = 3


def inflate_stem(tensors: dict[str, Tensor], channels: int) -> tuple[dict[str, Tensor], list[str]]:
    """Convert the weights of an RGB backbone to those for images with ``channels`` channels.

    The filter of an added channel is the mean of the three filters. With fewer than three channels, every
    filter is this mean. The stem is then scaled by 3 / ``channels`` (FINO, arXiv 2606.05107). So a grey image
    repeated in all channels gives the same output as before. The bias does not change. The first three
    channels keep their own filters, as the first bands of many images are red, green and blue.

    Args:
        tensors: name -> tensor. A stem is a 4-D weight with three input channels, of a convolution or a patch
            projection (a checkpoint with two branches has two).
        channels: number of channels of the images, 1 or more.

    Returns:
        The tensors, of which only the stems are new; and the names of the stems' parameters (weight, and bias
        if there is one), which should be trained first.

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
    """Adapt the file's tensors to a model whose images have another number of channels.

    Args:
        given, wanted: the file's backbone and the model's, without prefix.

    Returns:
        ``given``, with an inflated stem if the file's stem has three channels and the model's another number
        C; then (3, C) or None; then the names of the inflated stem's parameters, or none.
    """
    found = other_channels(given, wanted)
    if found is None or found[1] != RGB:
        return given, None, []
    name, old, new = found
    own = {k: given[k] for k in (name, name.removesuffix('weight') + 'bias') if k in given}
    inflated, names = inflate_stem(own, new)
    return {**given, **inflated}, (old, new), names


def other_channels(given: dict[str, Tensor], wanted: dict[str, Tensor]) -> tuple[str, int, int] | None:
    """Name of the stem, and its channels in the file and in the model, if they differ; else None.

    The stem is recognised if it is the only weight that differs, and only in its input channels.
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
