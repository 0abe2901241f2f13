"""Text towers from Hugging Face, read from a local folder."""

import os
from pathlib import Path

import torch
from torch import Tensor, nn

from densecl.messages import check_choice
from densecl.registry import MODELS

FEATURES = ('first', 'end', 'mean')


@MODELS.register_module()
class HuggingFaceText(nn.Module):
    """A text model of Hugging Face ``transformers`` (BERT, RoBERTa, CLIP's text tower, ...) from a folder.

    Nothing is downloaded, and code in the folder is not run. The model keeps its own dropout; its pooler, if
    it has one, is removed.

    Args:
        folder: folder with ``config.json`` and the weights.
        feature: which output is the text's vector. ``'first'``: the first token (``[CLS]``). ``'end'``: the
            end token or, without ``end_token``, the last token that is not padding. ``'mean'``: the mean of
            all tokens that are not padding.
        projection: width of a linear projection without bias, applied to the vector; None: no projection.
        context_length: largest number of tokens of a text, with start and end token.
        causal: tokens of this model see no later ones (CLIP's, GPT), so it needs no mask of the padding.
        pad_token: id of the padding, which comes after the text. None: the one in ``config.json``, except for
            a causal model: there, the file need not name the id that the tokenizer uses (CLIP's says 1, and
            :class:`.Tokenizer` pads with 0).
        end_token: id of the end token, for ``feature='end'``; CLIP's is 49407.
        pretrained: False: random initial values, and the folder needs only ``config.json``.

    Attributes:
        width: D, the width of the result.
        context_length: as given.
        vocab_size: number of token ids that the model has vectors for.

    Raises:
        ImportError: ``transformers`` is not installed.
        FileNotFoundError: the folder has no ``config.json``.
        ValueError: ``feature`` is unknown; a pad token is needed and unknown; the model has fewer positions
            than ``context_length``; or the folder cannot be read, or needs its own code.
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
        check_choice('HuggingFaceText: feature', feature, FEATURES)
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
        #: Whether the padding is told by a mask (B, 1, L, L). With (B, L) the library waits for the device to
        #: learn if any token is hidden, so that is only for models that do not take the other one.
        self.square_mask = not causal and _takes_square_mask(self.model, pad_token, context_length)
        self.projection = (
            None if projection is None else nn.Linear(config.hidden_size, projection, bias=False)
        )
        self.width = config.hidden_size if projection is None else projection

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L) int64 -> (B, D)."""
        length = tokens.shape[1]
        seen = None if self.pad_token is None else tokens != self.pad_token  # (B, L)
        mask = None if self.causal else seen
        if self.square_mask:
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
    model = getattr(model, 'text_model', model)  # the text tower of a CLIP
    if getattr(model, 'pooler', None) is not None:
        model.pooler = None  # data-parallel training waits for the gradient of every parameter
    return model


@torch.no_grad()
def _takes_square_mask(model: nn.Module, pad_token: int, length: int) -> bool:
    """Whether a mask (B, 1, L, L) gives the same vectors as (B, L), tried on two texts of ``length`` tokens.

    It does not where attention adds the mask as it is (MPNet), has a window of its own (ModernBERT), or
    expects two dimensions (DeBERTa).
    """
    count = model.get_input_embeddings().num_embeddings
    tokens = torch.arange(length).repeat(2, 1) % count
    tokens[tokens == pad_token] = (pad_token + 1) % count
    tokens[1, (length + 1) // 2 :] = pad_token
    seen, training = tokens != pad_token, model.training
    model.eval()
    try:
        masks = seen, seen[:, None, None].expand(-1, 1, length, -1)
        plain, square = (model(input_ids=tokens, attention_mask=m).last_hidden_state[seen] for m in masks)
    except (RuntimeError, ValueError, IndexError, TypeError):
        return False
    finally:
        model.train(training)
    return torch.allclose(plain, square, rtol=1e-4, atol=1e-5)


def _positions(model: nn.Module) -> int | None:
    """Largest number of tokens; None: unknown. RoBERTa's positions begin after the padding's id."""
    count = getattr(model.config, 'max_position_embeddings', None)
    if count is None or count < 0:  # XLNet's is -1: any number
        return None
    tables = (m for name, m in model.named_modules() if name.endswith('position_embeddings'))
    padding = next((m.padding_idx for m in tables if getattr(m, 'padding_idx', None) is not None), -1)
    return count - padding - 1
