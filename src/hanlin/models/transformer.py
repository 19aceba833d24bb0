"""The Transformer: blocks in a stack, one or two stacks, a head. Every shape is this one class.

Vaswani et al. 2017. A decoder is a causal stack, an encoder a bidirectional one, an encoder-decoder
both with cross-attention between them; `ModelConfig` says which, and every detail.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from hanlin.errors import InputError
from hanlin.models.cache import Cache
from hanlin.models.config import ModelConfig
from hanlin.models.heads import ClassifyHead, TokenHead, VocabularyHead, pool
from hanlin.models.initial import draw_weights
from hanlin.models.layers import Embedding, Linear
from hanlin.models.masks import Span
from hanlin.models.positions import positions_within
from hanlin.models.stack import Stack as Stack

if TYPE_CHECKING:
    from hanlin.models.lora.adapters import Adapters


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
        self.adapters: Adapters | None = None
        """What was put on it by `hanlin.models.lora`."""
        self.compiled = False
        """Whether `compile_blocks` was called."""
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

    def compile_blocks(self) -> None:
        """Have torch.compile translate every block, and the loss over the vocabulary."""
        self.compiled = True
        for stack in self._stacks():
            for block in stack.layers:
                block.compile()

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
        hidden = self.extend_hidden(ids, cache, rows=rows, every=every)
        assert isinstance(self.head, VocabularyHead)
        return self.head(hidden if every else hidden[:, -1])  # type: ignore[no-any-return]

    def extend_hidden(
        self, ids: Tensor, cache: Cache, *, rows: Sequence[int] | None = None, every: bool = False
    ) -> Tensor:
        """As `extend`, but the last hidden states, which the head stands on.

        Returns [R, T, D] with `every`; without it at least the last token's, at [:, -1].
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
        return hidden  # type: ignore[no-any-return]
