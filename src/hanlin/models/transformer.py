"""The Transformer: blocks in a stack, one or two stacks, a head. Every shape is this one class.

Vaswani et al. 2017. A decoder is a causal stack, an encoder a bidirectional one, an encoder-decoder
both with cross-attention between them; `ModelConfig` says which, and every detail.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hanlin.errors import InputError
from hanlin.models.attention import Attention
from hanlin.models.cache import Cache
from hanlin.models.config import ModelConfig
from hanlin.models.heads import ClassifyHead, TokenHead, VocabularyHead, pool
from hanlin.models.initial import draw_weights
from hanlin.models.layers import Embedding, FeedForward, Linear, make_norm
from hanlin.models.masks import Span
from hanlin.models.positions import RotaryTable, positions_within, relative_buckets, sinusoids

TokenSteps = Callable[[Tensor, "Rotations", Cache, int | None], Tensor]
Rotations = dict[bool, tuple[Tensor, Tensor] | None]
"""Cosine and sine for full (False) and sliding (True) layers."""


@dataclass
class Output:
    """What a pass gives: the last hidden states and, unless the head is "none", its logits."""

    hidden: Tensor
    """[B, T, D], after the final norm."""
    logits: Tensor | None = None
    """[B, T, V] (language models), [B, labels] (classify), [B, T, labels] (tag), [B, T, 2]
    (extract)."""
    pooled: Tensor | None = None
    """[B, D], where the model has a pooler."""


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
            h = F.dropout(h, self.dropout)
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
            x = F.dropout(x, self.config.dropout)
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


class Transformer(nn.Module):
    """A model of any shape; call it with token ids [B, T] to get an `Output`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = Embedding(config.vocab_size, config.hidden_size)
        self.encoder = Stack(config, decoder=False) if config.shape != "decoder" else None
        self.decoder = Stack(config, decoder=True) if config.shape != "encoder" else None
        self.pooler = Linear(config.hidden_size, config.hidden_size) if config.pooler else None
        self.head: VocabularyHead | ClassifyHead | TokenHead | None = None
        if config.head in ("language-model", "masked-lm"):
            self.head = VocabularyHead(config, self.embedding)
        elif config.head == "classify":
            self.head = ClassifyHead(config)
        elif config.head in ("tag", "extract"):
            self.head = TokenHead(config)
        if not self.embedding.weight.is_meta:
            # Drawing on the meta device imports sympy (2 s), for nothing.
            self.reset()

    def reset(self) -> None:
        """Draw fresh weights; see `initial.draw_weights`."""
        draw_weights(self)

    @property
    def checkpointing(self) -> bool:
        """Whether training keeps only each block's input and computes the rest again (Chen et al.
        2016): less memory, a third more work."""
        return any(stack.checkpointing for stack in self._stacks())

    @checkpointing.setter
    def checkpointing(self, wanted: bool) -> None:
        for stack in self._stacks():
            stack.checkpointing = wanted

    def _stacks(self) -> list[Stack]:
        return [stack for stack in (self.encoder, self.decoder) if stack is not None]

    @property
    def dtype(self) -> torch.dtype:
        """The type the residual stream is computed in."""
        return self.embedding.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.embedding.weight.device

    def forward(
        self,
        ids: Tensor,
        attention_mask: Tensor | None = None,
        decoder_ids: Tensor | None = None,
        *,
        decoder_mask: Tensor | None = None,
        token_types: Tensor | None = None,
    ) -> Output:
        """Read whole sequences.

        ids: [B, T]. attention_mask: [B, T], 1 or True at real tokens (None: all are); padding may
        be on either side, positions count real tokens. decoder_ids: [B, U], encoder-decoders only.
        """
        hidden = self.hidden(
            ids, attention_mask, decoder_ids, decoder_mask=decoder_mask, token_types=token_types
        )
        return self._output(hidden, ids, attention_mask)

    def hidden(
        self,
        ids: Tensor,
        attention_mask: Tensor | None = None,
        decoder_ids: Tensor | None = None,
        *,
        decoder_mask: Tensor | None = None,
        token_types: Tensor | None = None,
        segments: Tensor | None = None,
    ) -> Tensor:
        """The last hidden states [B, T, D] (encoder-decoders: [B, U, D]), which heads stand on.

        As `forward`; segments: [B, T], the document each token belongs to: attention stays within
        equal numbers, and positions start anew where the number changes.
        """
        if self.encoder is None or self.decoder is None:
            stack = self.decoder or self.encoder
            assert stack is not None
            if decoder_ids is not None:
                who = "A decoder" if stack.causal else "An encoder"
                raise InputError(f"{who} reads one sequence. Leave decoder_ids out.")
            return self._read(
                stack, ids, attention_mask, token_types=token_types, segments=segments
            )
        if segments is not None:
            raise InputError(
                "An encoder-decoder reads one document a row. Leave segments out, and give each "
                "document a row of its own."
            )
        memory = self._read(self.encoder, ids, attention_mask, token_types=token_types)
        if decoder_ids is None:
            if self.config.head != "classify":
                raise InputError("An encoder-decoder also needs decoder_ids: the target so far.")
            decoder_ids, decoder_mask = self.shift(ids, attention_mask), attention_mask
        elif self.config.head == "classify":
            raise InputError("A classifier's decoder reads the text itself. Leave decoder_ids out.")
        mask = None if attention_mask is None else attention_mask.bool()[:, None, None, :]
        return self._read(self.decoder, decoder_ids, decoder_mask, memory=memory, memory_mask=mask)

    def shift(self, ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Targets [B, T] to decoder inputs: the start token first, the last token dropped.

        With attention_mask [B, T] the start stands at the first real token of each row.
        """
        start = self.config.decoder_start_id
        if start is None:
            raise InputError("This model's config names no decoder_start_id. Set it first.")
        shifted = ids.roll(1, 1)
        shifted[:, 0] = start
        if attention_mask is not None:
            real = attention_mask.bool()
            shifted[real & (real.cumsum(1) == 1)] = start
        return shifted

    def _read(
        self,
        stack: Stack,
        ids: Tensor,
        attention_mask: Tensor | None,
        *,
        token_types: Tensor | None = None,
        segments: Tensor | None = None,
        memory: Tensor | None = None,
        memory_mask: Tensor | None = None,
    ) -> Tensor:
        padding = None
        positions: Tensor | slice = slice(0, ids.shape[1])
        if attention_mask is not None and not bool(attention_mask.all()):
            padding = attention_mask.bool()
            positions = (padding.long().cumsum(1) - 1).clamp(min=0)
        if segments is not None:
            positions = positions_within(segments, padding)
        self._check_length(ids.shape[1])
        span = Span(
            positions,
            ids.shape[1],
            stack.causal,
            self.config.sliding_window,
            ids.device,
            self.dtype,
            padding=padding,
            segments=segments,
            memory=memory,
            memory_mask=memory_mask,
        )
        return stack(self._embed(ids), span, token_types)  # type: ignore[no-any-return]

    def _embed(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids)
        if self.config.embedding_scale != 1.0:
            x = x * torch.tensor(self.config.embedding_scale, dtype=x.dtype)
        return x  # type: ignore[no-any-return]

    def _check_length(self, length: int) -> None:
        if self.config.position == "learned" and length > self.config.max_context:
            raise InputError(
                f"The text is {length} tokens long; this model reads at most "
                f"{self.config.max_context}. Shorten or split it."
            )

    def _output(self, hidden: Tensor, ids: Tensor, attention_mask: Tensor | None) -> Output:
        real = None if attention_mask is None else attention_mask.bool()
        pooled = None
        if self.pooler is not None:
            pooled = torch.tanh(self.pooler(pool(hidden, real, "first")))
        if self.head is None:
            return Output(hidden, None, pooled)
        if isinstance(self.head, ClassifyHead):
            if self.config.classifier == "pooler":
                assert pooled is not None
                return Output(hidden, self.head(pooled), pooled)
            return Output(hidden, self.head(self.head.pool(hidden, ids, real)), pooled)
        return Output(hidden, self.head(hidden), pooled)

    # Generation: a source is encoded once, then a cache is extended token by token.

    def new_cache(self, rows: int, capacity: int) -> Cache:
        """An empty cache for `rows` sequences; extended by `extend`."""
        return Cache(self.config, rows, capacity, dtype=self.dtype, device=self.device)

    def remember(self, cache: Cache, row: int, source_ids: Tensor) -> None:
        """Encoder-decoder: encode source_ids [S] and keep its keys and values for a cache row."""
        assert self.encoder is not None
        assert self.decoder is not None
        memory = self._read(self.encoder, source_ids.unsqueeze(0), None)
        sources = [block.cross.project_source(memory) for block in self.decoder.layers]  # type: ignore[union-attr, operator]
        cache.sources[row] = [(k.to(self.dtype), v.to(self.dtype)) for k, v in sources]

    def extend(
        self, ids: Tensor, cache: Cache, *, rows: Sequence[int] | None = None, every: bool = False
    ) -> Tensor:
        """Append ids [R, T] to `rows` of the cache (None: all) and return the next-token logits.

        Returns [R, V] for the last token of each row, or with `every` [R, T, V].
        """
        if self.decoder is None:
            raise InputError("An encoder cannot generate. Use fill, embed or a classifier instead.")
        rows = range(cache.rows) if rows is None else rows
        R, T = ids.shape
        assert len(rows) == R
        starts = [cache.lengths[r] for r in rows]
        self._check_length(max(starts) + T)
        cache.reserve(max(starts) + T)
        positions: Tensor | slice = slice(starts[0], starts[0] + T)
        if len(set(starts)) > 1:
            begin = torch.tensor(starts, device=ids.device).unsqueeze(1)
            positions = begin + torch.arange(T, device=ids.device)
        span = Span(
            positions,
            T,
            True,
            self.config.sliding_window,
            ids.device,
            self.dtype,
            cache=cache,
            rows=rows,
            groups=cache.groups(rows),
            last_token=not every,
        )
        hidden = self.decoder(self._embed(ids), span)
        cache.advance(rows, T)
        assert isinstance(self.head, VocabularyHead)
        return self.head(hidden if every else hidden[:, -1])  # type: ignore[no-any-return]
