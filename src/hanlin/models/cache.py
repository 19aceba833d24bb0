"""What a decoder remembers of the tokens it has read: keys and values, one row per sequence.

Every row starts at column 0 and has a length of its own, so a row holds exactly what it would hold
alone: what else is in the batch changes nothing. Keys are stored after rotation.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hanlin.models.config import ModelConfig


@dataclass(frozen=True)
class Group:
    """Rows of a pass that stand at the same column of a cache."""

    rows: slice
    """Of the pass."""
    cache_rows: slice
    start: int
    all: bool
    """Whether these are all of the cache's rows, in order."""


class Cache:
    """Keys and values of `rows` sequences, up to `capacity` tokens each (it grows by itself).

    Layout per layer: [rows, K, capacity, C]. For an encoder-decoder also the cross-attention's keys
    and values of the encoded source, one [K, S, C] pair per row and layer, without padding.
    """

    def __init__(
        self,
        config: ModelConfig,
        rows: int,
        capacity: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        layers, heads, channels = config.num_layers, config.kv_heads, config.channels
        if config.shape == "encoder-decoder":
            assert config.decoder_layers is not None
            assert config.decoder_heads is not None
            layers, heads = config.decoder_layers, config.decoder_heads
            channels = config.decoder_channels
        self.lengths = [0] * rows
        self._shape = (heads, channels)
        self._dtype, self._device = dtype, device
        self.keys = [self._blank(rows, capacity) for _ in range(layers)]
        self.values = [self._blank(rows, capacity) for _ in range(layers)]
        self.sources: list[list[tuple[Tensor, Tensor]]] = [[] for _ in range(rows)]
        """By row, then layer: the source's keys and values."""

    def _blank(self, rows: int, capacity: int) -> Tensor:
        heads, channels = self._shape
        return torch.empty(rows, heads, capacity, channels, dtype=self._dtype, device=self._device)

    @property
    def rows(self) -> int:
        """Sequences held."""
        return len(self.lengths)

    @property
    def capacity(self) -> int:
        """Tokens a row can hold before the cache must grow."""
        return self.keys[0].shape[2]

    def reserve(self, capacity: int) -> None:
        """Make room for `capacity` tokens in every row; doubles, so that growing stays cheap."""
        if capacity <= self.capacity:
            return
        capacity = max(capacity, 2 * self.capacity)
        held = max(self.lengths)
        for store in (self.keys, self.values):
            for layer, old in enumerate(store):
                store[layer] = self._blank(self.rows, capacity)
                store[layer][:, :, :held] = old[:, :, :held]

    def select(self, sources: Sequence[int]) -> None:
        """Row i becomes a copy of row sources[i]; rows may be dropped, repeated or added."""
        sources = list(sources)
        if sources == list(range(self.rows)):
            return
        if len(sources) != self.rows:
            index = torch.tensor(sources, dtype=torch.long, device=self.keys[0].device)
            for store in (self.keys, self.values):
                for layer, old in enumerate(store):
                    store[layer] = old.index_select(0, index)
        else:
            # In place and only what is filled: a beam moves every step.
            held = max(self.lengths[s] for s in sources)
            moved = [i for i, s in enumerate(sources) if i != s]
            index = torch.tensor([sources[i] for i in moved], device=self.keys[0].device)
            for store in (self.keys, self.values):
                for tensor in store:
                    tensor[moved, :, :held] = tensor[index, :, :held]
        self.lengths = [self.lengths[s] for s in sources]
        self.sources = [self.sources[s] for s in sources]

    def truncate(self, row: int, length: int) -> None:
        """Forget all but the first `length` tokens of a row."""
        assert 0 <= length <= self.lengths[row]
        self.lengths[row] = length

    def write(self, layer: int, groups: Sequence[Group], keys: Tensor, values: Tensor) -> None:
        """Append keys and values [R, K, T, C] to the rows' ends; `advance` then moves the ends."""
        tokens = keys.shape[2]
        for store, new in ((self.keys[layer], keys), (self.values[layer], values)):
            if len(groups) == 1 and groups[0].all:
                store.narrow(2, groups[0].start, tokens).copy_(new)
                continue
            for group in groups:
                end = group.start + tokens
                store[group.cache_rows, :, group.start : end] = new[group.rows]

    def groups(self, rows: Sequence[int]) -> list[Group]:
        """One group where all rows are meant and stand at one column, otherwise one per row."""
        starts = [self.lengths[r] for r in rows]
        if list(rows) == list(range(self.rows)) and len(set(starts)) == 1:
            whole = slice(0, len(rows))
            return [Group(whole, whole, starts[0], True)]
        return [
            Group(slice(i, i + 1), slice(row, row + 1), start, False)
            for i, (row, start) in enumerate(zip(rows, starts, strict=True))
        ]

    def advance(self, rows: Sequence[int], tokens: int) -> None:
        """Count `tokens` just written to each of the rows."""
        for row in rows:
            self.lengths[row] += tokens
