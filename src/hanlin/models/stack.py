"""A tower of the Transformer: blocks of attention and feed-forward, between positions and a norm.

Vaswani et al. 2017; norms before (Xiong et al. 2020), after, or on both sides of a sublayer.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hanlin.errors import InputError
from hanlin.models.attention import Attention
from hanlin.models.cache import Cache
from hanlin.models.config import ModelConfig
from hanlin.models.layers import Embedding, FeedForward, dropped, make_norm
from hanlin.models.masks import Span
from hanlin.models.positions import RotaryTable, relative_buckets, sinusoids

TokenSteps = Callable[[Tensor, "Rotations", Cache, int | None], Tensor]
Rotations = dict[bool, tuple[Tensor, Tensor] | None]
"""Cosine and sine for full (False) and sliding (True) layers."""


class Block(nn.Module):
    """Attention, perhaps attention over an encoder, feed-forward; each added to the stream."""

    def __init__(self, config: ModelConfig, layer: int, *, decoder: bool) -> None:
        super().__init__()
        two = config.shape == "encoder-decoder"
        place = config.norm_place
        self.layer = layer
        self.before = place != "after"
        self.after = place == "after"
        self.sliding = not two and config.kinds[layer] == "sliding"
        if two and decoder:
            heads = kv_heads = config.decoder_heads or config.num_heads
            channels = config.decoder_channels
            width = config.decoder_intermediate_size or config.intermediate_size
        else:
            heads, kv_heads, channels = config.num_heads, config.kv_heads, config.channels
            width = config.intermediate_size

        def post_norm() -> nn.Module | None:
            return make_norm(config) if place == "both" else None

        normed = layer > 0 or config.first_attention_norm
        self.attention_norm = make_norm(config, multiplied=self.before) if normed else nn.Identity()
        self.attention = Attention(config, heads=heads, kv_heads=kv_heads, channels=channels)
        self.attention_post_norm = post_norm()
        self.cross: Attention | None = None
        if two and decoder:
            self.cross_norm = make_norm(config, multiplied=self.before)
            self.cross = Attention(
                config, heads=heads, kv_heads=kv_heads, channels=channels, cross=True
            )
        self.mlp_norm = make_norm(config, multiplied=self.before)
        self.mlp = FeedForward(config, width)
        self.mlp_post_norm = post_norm()
        self.dropout = config.dropout

    def forward(
        self, x: Tensor, span: Span, rotations: Rotations, *, last_token: bool = False
    ) -> Tensor:
        h = self.attention_norm(x) if self.before else x
        h = self.attention(
            h, span, self.layer, sliding=self.sliding, rotation=rotations[self.sliding]
        )
        x = self._add(x, h, self.attention_norm, self.attention_post_norm)
        if last_token:
            x = x[:, -1:]
        if self.cross is not None:
            h = self.cross_norm(x) if self.before else x
            x = self._add(x, self.cross.cross(h, span, self.layer), self.cross_norm, None)
        h = self.mlp(self.mlp_norm(x) if self.before else x)
        return self._add(x, h, self.mlp_norm, self.mlp_post_norm)

    def _add(self, x: Tensor, h: Tensor, norm: nn.Module, post_norm: nn.Module | None) -> Tensor:
        if post_norm is not None:
            h = post_norm(h)
        if self.training and self.dropout:
            h = dropped(h, self.dropout)
        x = x + h
        return norm(x) if self.after else x


class Stack(nn.Module):
    """Positions, blocks and the final norm of one tower."""

    def __init__(self, config: ModelConfig, *, decoder: bool) -> None:
        super().__init__()
        self.config = config
        self.causal = decoder
        width, place = config.hidden_size, config.position
        layers = config.num_layers
        heads = config.num_heads
        if decoder and config.shape == "encoder-decoder":
            layers = config.decoder_layers or layers
            heads = config.decoder_heads or heads
        self.positions: nn.Embedding | None = None
        self.relative: nn.Embedding | None = None
        if place == "learned":
            self.positions = Embedding(config.max_context + config.position_offset, width)
        elif place == "relative":
            self.relative = Embedding(config.relative_buckets, heads)
        self.types = Embedding(config.token_types, width) if config.token_types else None
        self.embedding_norm = make_norm(config) if config.embedding_norm else None
        self.layers = nn.ModuleList(
            Block(config, layer, decoder=decoder) for layer in range(layers)
        )
        self.final_norm = make_norm(config) if config.final_norm else None
        self.rotary: dict[bool, RotaryTable] = {}
        if place == "rotary":
            local = config.rope_local or config.rope
            self.rotary = {
                False: RotaryTable(config.rope, config.channels),
                True: RotaryTable(local, config.channels),
            }
        self._sinusoids: Tensor | None = None
        self.token_steps: TokenSteps | None = None
        """A shorter way through the blocks for one new token a row; see `inference.prepare`."""
        self.checkpointing = False

    def forward(self, x: Tensor, span: Span, token_types: Tensor | None = None) -> Tensor:
        x = x + p if (p := self._positions(span)) is not None else x
        if self.types is not None:
            x = x + (self.types.weight[0] if token_types is None else self.types(token_types))
        elif token_types is not None:
            raise InputError("This model has no token types. Leave token_types out.")
        if self.embedding_norm is not None:
            x = self.embedding_norm(x)
        if self.training and self.config.dropout:
            x = dropped(x, self.config.dropout)
        if self.relative is not None:
            span.bias = self._bias
        rotations: Rotations = {False: None, True: None}
        for kind in set(self.config.kinds):
            if self.rotary:
                table = self.rotary[kind == "sliding"]
                rotations[kind == "sliding"] = table.at(
                    span.positions, device=x.device, dtype=span.dtype
                )
        if self.token_steps is not None and span.one_token_each:
            assert span.cache is not None
            x = self.token_steps(x, rotations, span.cache, span.window)
        elif self.checkpointing and self.training and torch.is_grad_enabled():
            for kind in set(self.config.kinds):
                # The blocks share the masks: made within one, they would be missed by another.
                span.mask(0, sliding=kind == "sliding")
            for block in self.layers:
                x = checkpoint(block, x, span, rotations, use_reentrant=False)
        else:
            for block in self.layers[:-1]:
                x = block(x, span, rotations)
            # No later block asks for the other tokens' states.
            x = self.layers[-1](x, span, rotations, last_token=span.last_token)
        return x if self.final_norm is None else self.final_norm(x)

    def _positions(self, span: Span) -> Tensor | None:
        where = span.positions
        if self.positions is not None:
            offset = self.config.position_offset
            if isinstance(where, slice):
                return self.positions.weight[where.start + offset : where.stop + offset]
            return self.positions(where + offset)  # type: ignore[no-any-return]
        if self.config.position == "sinusoidal":
            last = where.stop if isinstance(where, slice) else int(where.max()) + 1
            if self._sinusoids is None or self._sinusoids.shape[0] < last:
                table = sinusoids(max(last, self.config.max_context), self.config.hidden_size)
                self._sinusoids = table
            table = self._sinusoids.to(span.device, span.dtype)
            return table[where]
        return None

    def _bias(self, query: Tensor, key: Tensor) -> Tensor:
        assert self.relative is not None
        bucket = relative_buckets(
            query,
            key,
            buckets=self.config.relative_buckets,
            max_distance=self.config.relative_max_distance,
            bidirectional=not self.causal,
        )
        return self.relative(bucket).permute(2, 0, 1).unsqueeze(0)  # type: ignore[no-any-return]
