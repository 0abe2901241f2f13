"""Text towers of Hugging Face, from a folder on this machine."""

import os
from pathlib import Path

import torch
from torch import Tensor, nn

from densecl.registry import MODELS

FEATURES = ('first', 'end', 'mean')


@MODELS.register_module()
class HuggingFaceText(nn.Module):
    """A text model of Hugging Face ``transformers`` (BERT, RoBERTa, CLIP's text tower, ...) from a folder.

    Nothing is downloaded, and code that lies in the folder is not run. The model keeps its own dropout; its
    pooler, if it has one, is left out.

    Args:
        folder: with ``config.json`` and the weights.
        feature: ``'first'``: the first token is the text's vector (``[CLS]``); ``'end'``: the end token, or
            without ``end_token`` the last one that is no padding; ``'mean'``: the mean of the others.
        projection: width of a linear projection without bias behind it; None: none.
        context_length: most tokens of a text, start and end token included.
        causal: the model is one that sees to the left alone (CLIP's, GPT), which needs no mask of padding.
        pad_token: id of the padding, which comes after the text; None: as ``config.json`` says. Not so of a
            causal model, whose file need not say what the tokenizer pads with: CLIP's says 1, and
            :class:`.Tokenizer` pads with 0.
        end_token: id of the end token, for ``feature='end'``; CLIP's is 49407.
        pretrained: False: random values; only ``config.json`` need be there.

    Attributes:
        width: D, of the result.
        context_length: as given.

    Raises:
        ImportError: ``transformers`` is not installed.
        FileNotFoundError: the folder has no ``config.json``.
        ValueError: an unknown feature, no pad token where one is needed, a longer context than the model has
            positions for, or a folder that cannot be read or needs code of its own.
    """

    #: Inputs are token ids, not photos.
    reads_tokens = True

    def __init__(
        self,
        folder: str | os.PathLike,
        feature: str = 'first',
        projection: int | None = None,
        context_length: int = 77,
        causal: bool = False,
        pad_token: int | None = None,
        end_token: int | None = None,
        pretrained: bool = True,
    ) -> None:
        super().__init__()
        if feature not in FEATURES:
            raise ValueError(
                f'HuggingFaceText: feature must be one of {", ".join(FEATURES)}, got {feature!r}'
            )
        self.model = _model(Path(os.path.expanduser(folder)), pretrained)
        config = self.model.config
        if pad_token is None and not causal:
            pad_token = getattr(config, 'pad_token_id', None)
        self.pad_token, self.feature, self.causal, self.end_token = pad_token, feature, causal, end_token
        told = causal and (feature == 'first' or (feature == 'end' and end_token is not None))
        if pad_token is None and not told:
            source = 'a causal model does not say' if causal else f'{folder}/config.json does not name'
            wanted = 'end_token or pad_token' if feature == 'end' and causal else 'pad_token'
            raise ValueError(f'HuggingFaceText: {source} what the tokenizer pads with; set {wanted}')
        positions = _positions(self.model)
        if positions is not None and context_length > positions:
            raise ValueError(
                f'HuggingFaceText: context_length {context_length}, but the model in {folder} has '
                f'{positions} positions; lower context_length'
            )
        self.vocab_size = self.model.get_input_embeddings().num_embeddings
        self.context_length = context_length
        self.projection = (
            None if projection is None else nn.Linear(config.hidden_size, projection, bias=False)
        )
        self.width = config.hidden_size if projection is None else projection

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L) int64 -> (B, D)."""
        length = tokens.shape[1]
        seen = None if self.pad_token is None else tokens != self.pad_token  # (B, L)
        mask = None
        if not self.causal:  # of four dimensions: of two, the library asks the device whether all are seen
            mask = seen[:, None, None].expand(-1, 1, length, -1)
        x = self.model(input_ids=tokens, attention_mask=mask).last_hidden_state  # (B, L, C)
        x = self._feature(x, tokens, seen)
        return x if self.projection is None else self.projection(x)

    def _feature(self, x: Tensor, tokens: Tensor, seen: Tensor | None) -> Tensor:
        """(B, L, C) -> (B, C)."""
        if self.feature == 'first':
            return x[:, 0]
        if self.feature == 'mean':
            share = seen.to(x.dtype)[..., None]
            return (x * share).sum(1) / share.sum(1).clamp(min=1)
        end = seen.sum(1) - 1 if self.end_token is None else (tokens == self.end_token).int().argmax(1)
        return x.gather(1, end[:, None, None].expand(-1, 1, x.shape[2])).squeeze(1)


def _model(folder: Path, pretrained: bool) -> nn.Module:
    try:
        from transformers import AutoConfig, AutoModel
    except ImportError as error:
        raise ImportError("HuggingFaceText needs transformers: pip install 'densecl[text]'") from error
    if not (folder / 'config.json').is_file():
        raise FileNotFoundError(
            f'HuggingFaceText: there is no {folder}/config.json; folder is a Hugging Face model that is here'
        )
    safe = dict(trust_remote_code=False)
    try:
        if pretrained:
            model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32, **safe)
        else:
            config = AutoConfig.from_pretrained(folder, local_files_only=True, **safe)
            model = AutoModel.from_config(config, **safe)
    except (OSError, ValueError) as error:
        own = 'trust_remote_code' in str(error)
        why = 'it needs code of its own, which is not run' if own else str(error).strip().split('\n')[0]
        raise ValueError(f'HuggingFaceText: {folder} cannot be read: {why}') from error
    model = getattr(model, 'text_model', model)  # of a CLIP, the text tower
    if getattr(model, 'pooler', None) is not None:
        model.pooler = None  # data-parallel training waits for a gradient of every parameter
    return model


def _positions(model: nn.Module) -> int | None:
    """Most tokens of a text; None: unknown. RoBERTa and its kind count from behind the padding's id."""
    count = getattr(model.config, 'max_position_embeddings', None)
    if count is None:
        return None
    tables = (m for name, m in model.named_modules() if name.endswith('position_embeddings'))
    padding = next((m.padding_idx for m in tables if getattr(m, 'padding_idx', None) is not None), -1)
    return count - padding - 1
