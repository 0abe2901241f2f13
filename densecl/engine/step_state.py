"""Keeps and restores what a step changes beside the weights."""

import torch
from torch import Tensor, nn

from densecl.models.heads import Head, is_trained
from densecl.models.memory import Journalled


class StepState:
    """Batch statistics, queues, centres, codes and counters of a model, as they were before a step.

    For queues and banks only the rows that a step overwrites are kept. All other buffers are copied.

    Args:
        model: a pretrainer. Its frozen parts are left out.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.memories = [module for module in model.modules() if isinstance(module, Journalled)]
        frozen = [getattr(model, 'data_preprocessor', None), getattr(model, 'start', None)]
        heads = [module for module in model.modules() if isinstance(module, Head)]
        frozen += [head.target for head in heads if isinstance(head.target, nn.Module)]
        frozen = [part for part in frozen if part is not None and not is_trained(part)]
        left_out = {module for part in frozen for module in part.modules()}
        groups: dict[tuple, list[tuple[nn.Module, str]]] = {}
        for module in model.modules():
            own = getattr(module, 'journalled', ())
            for name, buffer in () if module in left_out else module.named_buffers(recurse=False):
                if name not in own:
                    groups.setdefault((buffer.dtype, buffer.device), []).append((module, name))
        self._groups = list(groups.values())
        self._seen: list[list[Tensor]] = []
        self._before: list[Tensor] | None = None

    @torch.no_grad()
    def keep(self) -> None:
        """Keep the present state, unless a started step is not closed yet."""
        if self._before is not None:
            return
        self._seen = [_buffers(places) for places in self._groups]
        self._before = [_joined(group) for group in self._seen]
        for memory in self.memories:
            memory.journal = []

    @torch.no_grad()
    def close(self, counts: Tensor) -> None:
        """Restore the kept state if ``counts``, a () bool, is false. Does not wait for the device."""
        for memory in self.memories:
            memory.keep_where(counts)
        kept, self._before = self._before, None
        if counts.device.type == 'cpu' and counts:
            return
        for places, seen, before in zip(self._groups, self._seen, kept, strict=True):
            group = _buffers(places)
            parts = torch.where(counts, _joined(group), before).split([x.numel() for x in seen])
            parts = [part.view(x.shape) for part, x in zip(parts, seen, strict=True)]
            torch._foreach_copy_(seen, parts)
            for (module, name), old, new in zip(places, seen, group, strict=True):
                if new is not old:  # a step put another tensor there, which may be a view of something else
                    setattr(module, name, old)

    def begin_again(self) -> None:
        """Let modules that initialise from their first batch (``look_at_buffers``) take the next one."""
        for module in self.model.modules():
            if hasattr(module, 'look_at_buffers'):
                module.look_at_buffers()

    def end(self) -> None:
        """Drop the kept state."""
        self._seen, self._before = [], None
        for memory in self.memories:
            memory.journal = None


def _buffers(places: list[tuple[nn.Module, str]]) -> list[Tensor]:
    """The tensors that are the buffers now; a step may have put others of their shape in their place."""
    return [getattr(module, name) for module, name in places]


def _joined(tensors: list[Tensor]) -> Tensor:
    return torch.cat([x.flatten() for x in tensors])
