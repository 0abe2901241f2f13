"""A transformer for texts, causal like CLIP's or bidirectional like BERT."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from densecl.messages import check_choice
from densecl.registry import MODELS


class QuickGELU(nn.Module):
    """``x sigmoid(1.702 x)``, the activation of OpenAI's CLIP."""

    def forward(self, x: Tensor) -> Tensor:
        """Elementwise."""
        return x * torch.sigmoid(1.702 * x)


ACTIVATIONS = {'gelu': nn.GELU, 'quick_gelu': QuickGELU}
FEATURES = ('end', 'first')


@MODELS.register_module()
class TextTransformer(nn.Module):
    """A pre-norm transformer: token ids -> one vector per text (CLIP's text tower, Radford et al., 2021).

    The vector is the token that ``feature`` names, after the final layer norm and the projection, if there is
    one. Parameter names are those of the text tower in CLIP's and open_clip's checkpoints; initial values are
    CLIP's. Tokens after the end token have no effect.

    Args:
        vocab_size: number of token ids.
        context_length: largest number of tokens of a text, with start and end token.
        width: width of the transformer.
        depth: number of blocks.
        heads: number of attention heads.
        projection: width of the result; None: no projection, the result has the transformer's width.
        causal: a token sees only itself and earlier tokens; False: it sees the whole text.
        feature: ``'end'``: the vector is the end token; ``'first'``: the first token, BERT's ``[CLS]``, which
            needs ``causal=False``.
        end_token: id of the end token. None: the largest id of a text is the end token, as in CLIP's
            vocabulary and in those of ``tools/train_tokenizer.py``.
        activation: ``'gelu'`` (open_clip) or ``'quick_gelu'`` (OpenAI's weights).
        dropout: in training, the share of embeddings, attention weights, and outputs of attention and MLP
            that are set to 0, as in BERT; 0 in CLIP, 0.1 in SimCSE.

    Attributes:
        width: D, the width of the result.
        context_length: as given.

    Raises:
        ValueError: an argument is unknown, ``heads`` does not divide ``width``, or ``feature='first'`` with a
            causal tower.
    """

    #: Inputs are token ids, not photos.
    reads_tokens = True

    def __init__(
        self,
        vocab_size: int = 49408,
        context_length: int = 77,
        width: int = 512,
        depth: int = 12,
        heads: int = 8,
        projection: int | None = None,
        causal: bool = True,
        feature: str = 'end',
        end_token: int | None = None,
        activation: str = 'gelu',
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_choice('TextTransformer: activation', activation, ACTIVATIONS)
        check_choice('TextTransformer: feature', feature, FEATURES)
        if width % heads:
            raise ValueError(f'TextTransformer: width {width} is no multiple of its {heads} heads')
        if causal and feature == 'first':
            raise ValueError(
                'TextTransformer: the first token of a causal tower sees nothing but itself; take '
                "feature='end' or causal=False"
            )
        self.vocab_size, self.context_length, self.end_token = vocab_size, context_length, end_token
        self.causal, self.feature = causal, feature
        self.width = width if projection is None else projection
        self.token_embedding = nn.Embedding(vocab_size, width)
        self.positional_embedding = nn.Parameter(torch.empty(context_length, width))
        self.dropout = nn.Dropout(dropout)
        blocks = nn.ModuleList(Block(width, heads, ACTIVATIONS[activation], dropout) for _ in range(depth))
        self.transformer = nn.ModuleDict({'resblocks': blocks})  # as CLIP names it
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = None
        if projection is not None:
            self.text_projection = nn.Parameter(torch.empty(width, projection))
        self._init(width, depth)

    @torch.no_grad()
    def _init(self, width: int, depth: int) -> None:
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        for block in self.transformer['resblocks']:
            nn.init.normal_(block.attn.in_proj_weight, std=width**-0.5)
            nn.init.normal_(block.mlp['c_fc'].weight, std=(2 * width) ** -0.5)
            for last in (block.attn.out_proj, block.mlp['c_proj']):
                nn.init.normal_(last.weight, std=width**-0.5 * (2 * depth) ** -0.5)
        if self.text_projection is not None:
            nn.init.normal_(self.text_projection, std=width**-0.5)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L) int64 -> (B, D).

        Raises:
            ValueError: L is larger than ``context_length``.
        """
        length = tokens.shape[1]
        if length > self.context_length:
            raise ValueError(
                f'TextTransformer: texts of {length} tokens, context_length is {self.context_length}: give '
                'tokenizer and tower one context_length'
            )
        end = (tokens if self.end_token is None else (tokens == self.end_token).int()).argmax(1)  # (B,)
        seen = None
        if not self.causal:
            seen = (torch.arange(length, device=tokens.device) <= end[:, None])[:, None, None]  # (B, 1, 1, L)
        x = self.dropout(self.token_embedding(tokens) + self.positional_embedding[:length])  # (B, L, C)
        for block in self.transformer['resblocks']:
            x = block(x, seen)
        if self.feature == 'first':
            x = x[:, 0]
        else:
            x = x.gather(1, end[:, None, None].expand(-1, 1, x.shape[2])).squeeze(1)
        x = self.ln_final(x)  # (B, C), only the token that is read
        return x if self.text_projection is None else x @ self.text_projection


class Block(nn.Module):
    """``x + attention(norm(x))``, then ``x + mlp(norm(x))``."""

    def __init__(self, width: int, heads: int, activation: type[nn.Module], dropout: float) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads, dropout)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.ModuleDict(
            dict(c_fc=nn.Linear(width, 4 * width), gelu=activation(), c_proj=nn.Linear(4 * width, width))
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        """(B, L, C); ``seen`` is (B, 1, 1, L) bool, None: causal."""
        x = x + self.dropout(self.attn(self.ln_1(x), seen))
        hidden = self.mlp['gelu'](self.mlp['c_fc'](self.ln_2(x)))
        return x + self.dropout(self.mlp['c_proj'](hidden))


class Attention(nn.Module):
    """Self-attention with the parameter names of ``torch.nn.MultiheadAttention``."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.drop = heads, dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        """(B, L, C); ``seen`` is (B, 1, 1, L) bool, None: causal."""
        projected = F.linear(x, self.in_proj_weight, self.in_proj_bias).unflatten(2, (3, self.heads, -1))
        query, key, value = projected.permute(2, 0, 3, 1, 4)  # each (B, heads, L, C / heads)
        drop = self.drop if self.training else 0.0
        how = dict(is_causal=True) if seen is None else dict(attn_mask=seen)
        found = F.scaled_dot_product_attention(query, key, value, dropout_p=drop, **how)
        return self.out_proj(found.transpose(1, 2).flatten(2))
