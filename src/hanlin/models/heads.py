"""What stands on the last hidden state: next-token logits, masked-token logits, labels, spans."""

from typing import Literal

import torch
from torch import Tensor, nn

from hanlin.models.config import ModelConfig
from hanlin.models.layers import ACTIVATIONS, Linear, make_norm


class Transform(nn.Module):
    """dense, activation, and (with `norm`) a norm: what BERT puts before its output projection."""

    def __init__(self, config: ModelConfig, *, norm: bool) -> None:
        super().__init__()
        width = config.hidden_size
        self.dense = Linear(width, width, bias=config.head_transform_bias)
        self.norm = make_norm(config, multiplied=True) if norm else None
        self.activation = ACTIVATIONS[config.head_activation]

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.dense(x))
        return x if self.norm is None else self.norm(x)


class VocabularyHead(nn.Module):
    """Hidden states to logits over the vocabulary, for causal and masked language models."""

    def __init__(self, config: ModelConfig, embedding: nn.Embedding) -> None:
        super().__init__()
        self.transform = Transform(config, norm=True) if config.head_transform else None
        self.projection = Linear(config.hidden_size, config.vocab_size, bias=config.lm_head_bias)
        if config.tie_embeddings:
            self.projection.weight = embedding.weight
        self.logit_scale = config.logit_scale
        self.softcap = config.logit_softcap

    def states(self, x: Tensor) -> Tensor:
        """What the projection multiplies: hidden states [..., D], transformed and scaled."""
        if self.transform is not None:
            x = self.transform(x)
        return x if self.logit_scale == 1.0 else x * self.logit_scale

    def forward(self, x: Tensor) -> Tensor:
        logits = self.projection(self.states(x))
        if self.softcap is not None:
            logits = torch.tanh(logits / self.softcap) * self.softcap
        return logits  # type: ignore[no-any-return]


def pool(
    x_BTD: Tensor, real_BT: Tensor | None, pooling: Literal["first", "mean", "last"]
) -> Tensor:
    """The first, the last or the mean of each sequence's real tokens [B, D]; None: all are real."""
    if real_BT is None:
        if pooling == "mean":
            return x_BTD.mean(1)
        return x_BTD[:, 0 if pooling == "first" else -1]
    if pooling == "mean":
        weight = real_BT.unsqueeze(-1).to(x_BTD.dtype)
        return (x_BTD * weight).sum(1) / weight.sum(1)
    B, T, _ = x_BTD.shape
    row = torch.arange(B, device=x_BTD.device)
    column = torch.arange(T, device=x_BTD.device).expand(B, T)
    if pooling == "first":
        return x_BTD[row, column.masked_fill(~real_BT, T).argmin(1)]
    return x_BTD[row, column.masked_fill(~real_BT, -1).argmax(1)]


class ClassifyHead(nn.Module):
    """One vector of label logits per sequence."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.pooling = config.pooling
        self.eos_ids = config.eos_ids
        self.dropout = nn.Dropout(config.dropout)
        self.transform: nn.Module | None = None
        if config.classifier in ("dense", "transform"):
            self.transform = Transform(config, norm=config.classifier == "transform")
        self.projection = Linear(
            config.hidden_size, len(config.labels), bias=config.classifier_bias
        )

    def pool(self, x_BTD: Tensor, ids_BT: Tensor, real_BT: Tensor | None) -> Tensor:
        """The hidden state that stands for each sequence [B, D]."""
        if self.pooling != "eos":
            return pool(x_BTD, real_BT, self.pooling)
        ends = torch.isin(ids_BT, torch.tensor(self.eos_ids, device=ids_BT.device))
        return pool(x_BTD, ends if real_BT is None else ends & real_BT, "last")

    def forward(self, pooled_BD: Tensor) -> Tensor:
        x = self.dropout(pooled_BD)
        if self.transform is not None:
            x = self.dropout(self.transform(x))
        return self.projection(x)  # type: ignore[no-any-return]


class TokenHead(nn.Module):
    """Label logits for every token (tagging), or start and end logits (span extraction)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dropout = nn.Dropout(config.dropout if config.head == "tag" else 0.0)
        self.transform = Transform(config, norm=True) if config.head_transform else None
        width = 2 if config.head == "extract" else len(config.labels)
        self.projection = Linear(config.hidden_size, width, bias=config.classifier_bias)

    def forward(self, x: Tensor) -> Tensor:
        if self.transform is not None:
            x = self.transform(x)
        return self.projection(self.dropout(x))  # type: ignore[no-any-return]
