"""The first weights of a fresh model."""

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from hanlin.models.stack import Stack
    from hanlin.models.transformer import Transformer


@torch.no_grad()
def draw_weights(model: "Transformer") -> None:
    """Draw fresh weights: normal with the config's initializer_range, biases zero.

    Where norms stand before the sublayers, what adds to the residual stream is drawn smaller by the
    square root of their number, so that the sum does not grow with depth (Radford et al. 2019), and
    an embedding that is multiplied on its way in is drawn smaller by as much: a tied one would
    begin by repeating its input. With relative positions every matrix is drawn by its own width,
    the queries smaller by the scale that T5's attention lacks, embeddings with 1 (Raffel et al.
    2020).
    """
    config = model.config
    usual = config.initializer_range
    by_width = config.position == "relative"
    embedded = 1.0 if by_width else usual
    if config.norm_place != "after":
        embedded /= config.embedding_scale
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5 if by_width else usual)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    # After the linear layers: a tied output projection is the embedding.
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=embedded)
    for stack in (model.encoder, model.decoder):
        if stack is None:
            continue
        if by_width:
            _shrink_queries(stack)
        elif config.norm_place == "before":
            _shrink_outputs(stack)


def _shrink_queries(stack: "Stack") -> None:
    assert stack.relative is not None
    stack.relative.weight *= stack.config.hidden_size**-0.5
    blocks: list[Any] = list(stack.layers)
    for block in blocks:
        own, cross = block.attention, block.cross
        own.qkv.weight[: own.heads * own.channels] *= own.channels**-0.5
        if cross is not None:
            cross.q.weight *= cross.channels**-0.5


def _shrink_outputs(stack: "Stack") -> None:
    blocks: list[Any] = list(stack.layers)
    outputs = [block.attention.out for block in blocks] + [block.mlp.down for block in blocks]
    outputs += [block.cross.out for block in blocks if block.cross is not None]
    for output in outputs:
        output.weight *= len(outputs) ** -0.5
