"""Compares similarities of text vectors with human scores."""

import os
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from torch import Tensor, nn

from densecl.datasets.text import Tokenizer, read_rows
from densecl.inputs import parse_config
from densecl.models.text import check_tokenizer
from densecl.numerics import unit
from densecl.registry import TRANSFORMS
from densecl.transfer import load_backbone, read_weights
from densecl.transfer.prefixes import under
from densecl.transfer.record import training_record

from .collapse import alignment, uniformity
from .features import build_offline


def read_pairs(
    path: str | os.PathLike, columns: Sequence[str] = ('sentence1', 'sentence2', 'score')
) -> tuple[list[str], list[str], Tensor]:
    """Read N first texts, N second texts and (N,) float64 scores from a table with these columns.

    Raises:
        ValueError: a score is no number; the message names file and line.
    """
    first, second, scores = [], [], []
    for number, (one, other, score) in read_rows(path, columns):
        try:
            scores.append(float(score))
        except ValueError as error:
            raise ValueError(f'{path}, line {number}: the score {score!r} is no number') from error
        first.append(one)
        second.append(other)
    if not scores:
        raise ValueError(f'{path} has no pairs')
    return first, second, torch.tensor(scores, dtype=torch.float64)


class SentenceEncoder(nn.Module):
    """A text tower with its tokenizer: texts -> vectors, in eval mode.

    Args:
        tower: maps (B, L) int64 to (B, D).
        tokenizer: has ``encode(list[str]) -> (B, L)``.
        projector: maps (B, D) to (B, E); None: use the tower's vectors (SimCSE without labels).
    """

    def __init__(self, tower: nn.Module, tokenizer: Tokenizer, projector: nn.Module | None = None) -> None:
        super().__init__()
        check_tokenizer(tower, tokenizer)
        self.tower, self.tokenizer, self.projector = tower, tokenizer, projector
        self.eval()

    @torch.no_grad()
    def encode(self, texts: Sequence[str], batch_size: int = 64) -> Tensor:
        """(N, D) float32 unit vectors, on the CPU."""
        device, found = next(self.tower.parameters()).device, []
        for start in range(0, len(texts), batch_size):
            vectors = self.tower(self.tokenizer.encode(texts[start : start + batch_size]).to(device))
            found.append(vectors if self.projector is None else self.projector(vectors))
        return unit(torch.cat(found)).cpu()


def load_sentence_encoder(
    checkpoint: str | Path | None,
    config: dict | None = None,
    tokenizer: str | None = None,
    through_projector: bool = False,
) -> SentenceEncoder:
    """The text tower of a checkpoint of text pretraining, with the tokenizer that it was trained with.

    Args:
        checkpoint: the file; None: the tower at the start of training.
        config: a whole config; by default the checkpoint's.
        tokenizer: the tokenizer's file or folder, if it was moved.
        through_projector: use the output of the first head's projector (SimCSE with labels).

    Raises:
        ValueError: there is no config of a text pretraining.
    """
    weights = None if checkpoint is None else read_weights(checkpoint)
    if config is None and weights is not None:
        config = parse_config(training_record(weights, weights.tensors, 'online').get('config'))
    dataset = ((config or {}).get('train_dataloader') or {}).get('dataset') or {}
    if 'tokenizer' not in dataset:
        raise ValueError(
            f'{checkpoint or "the config"} is of no text pretraining: its train_dataloader.dataset has no '
            'tokenizer; give a config that has one'
        )
    how = dict(dataset['tokenizer'], **({} if tokenizer is None else dict(path=tokenizer)))
    tower, projector = build_offline(config['model']['backbone']), None
    if weights is not None:
        load_backbone(tower, weights, 'online')
    if through_projector:
        projector = _projector(config, weights)
    return SentenceEncoder(tower, TRANSFORMS.build(how), projector)


def _projector(config: dict, weights) -> nn.Module:
    name, head = next(iter(config['model']['heads'].items()))
    projector = build_offline(head['projector'])
    if weights is not None:
        projector.load_state_dict(under(weights.tensors, f'heads.{name}.projector.'))
    return projector


def sentence_similarity(
    encoder: SentenceEncoder,
    first: Sequence[str],
    second: Sequence[str],
    scores: Tensor,
    positive: float = 4.0,
) -> dict[str, float]:
    """Agreement of the pairs' cosines with scores (the STS tasks, as SimCSE reports them).

    Returns:
        ``spearman``, of cosines and scores; ``alignment`` of the pairs whose score is above ``positive``, NaN
        without any; ``uniformity`` of all different texts (Wang and Isola, 2020).
    """
    one, other = encoder.encode(first), encoder.encode(second)
    near = scores > positive
    different = encoder.encode(sorted({*first, *second}))
    return dict(
        spearman=float(spearmanr(F.cosine_similarity(one, other).double(), scores).statistic),
        alignment=float(alignment(one[near], other[near])),
        uniformity=float(uniformity(different)),
    )
