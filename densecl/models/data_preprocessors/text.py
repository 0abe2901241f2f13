"""The data preprocessor of texts."""

import torch
from mmengine.model import BaseDataPreprocessor

from densecl.registry import MODELS
from densecl.structures import Views


@MODELS.register_module()
class TextPreprocessor(BaseDataPreprocessor):
    """Move a batch of texts, as token ids, to the device; nothing else is done with them.

    Args:
        non_blocking: do not wait for copies from page-locked memory.
    """

    def __init__(self, non_blocking: bool = True) -> None:
        super().__init__(non_blocking)
        self.compiled = False

    @torch.no_grad()
    def forward(self, data: dict, training: bool = False) -> dict:
        """``inputs`` is a :class:`Views` whose images are (B, L) int64 tokens; other keys stay.

        Raises:
            TypeError: ``inputs`` is no :class:`Views`, or its images are not tokens.
        """
        views = data['inputs']
        if not isinstance(views, Views) or any(x.dtype != torch.int64 or x.ndim != 2 for x in views.images):
            raise TypeError(
                'TextPreprocessor takes token ids, int64 (B, L): set train_dataloader.dataset.type= '
                "'TextDataset' and collate_fn=dict(type='collate_views')"
            )
        return {**data, 'inputs': views.to(self.device, self._non_blocking)}
