"""A cache holds what was written, and a row in it is what the row would be alone."""

import random
from typing import Any

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from torch import Tensor

from hanlin.errors import InputError
from hanlin.models.cache import Cache
from hanlin.models.config import ModelConfig, Rope
from hanlin.models.transformer import Transformer

VOCABULARY = 53
CLOSE = 1e-5

torch.set_num_threads(1)


class CacheMachine(RuleBasedStateMachine):
    """Rows of a cache against plain lists of the vectors written to them."""

    @initialize(rows=st.integers(1, 4), capacity=st.integers(1, 5), two=st.booleans())
    def begin(self, rows: int, capacity: int, two: bool) -> None:
        shape: dict[str, Any] = {"shape": "decoder", "num_layers": 2, "num_kv_heads": 2}
        if two:
            shape = {"shape": "encoder-decoder", "decoder_layers": 2, "decoder_heads": 2}
            shape |= {"num_layers": 3}
        config = ModelConfig(
            family="llama", head="none", vocab_size=5, hidden_size=12, num_heads=4,
            intermediate_size=4, position="none", **shape,
        )  # fmt: skip
        self.heads, self.channels = (2, 6) if two else (2, 3)
        self.cache = Cache(config, rows, capacity)
        # By row, then layer: the keys written; values are their negatives.
        self.lists: list[list[list[Tensor]]] = [[[], []] for _ in range(rows)]
        self.names = [object() for _ in range(rows)]
        self.cache.sources = [[name] for name in self.names]  # type: ignore[list-item]
        self.count = 0

    @rule(data=st.data(), tokens=st.integers(1, 4))
    def append(self, data: st.DataObject, tokens: int) -> None:
        every = list(range(self.cache.rows))
        rows = data.draw(st.permutations(every))[: data.draw(st.integers(1, len(every)))]
        self.cache.reserve(max(self.cache.lengths[r] for r in rows) + tokens)
        size = (len(rows), self.heads, tokens, self.channels)
        for layer in range(2):
            new = torch.arange(self.count, self.count + torch.Size(size).numel()).float().view(size)
            self.count += new.numel()
            self.cache.write(layer, self.cache.groups(rows), new, -new)
            for row, keys in zip(rows, new, strict=True):
                self.lists[row][layer] += [keys[:, t] for t in range(tokens)]
        self.cache.advance(rows, tokens)

    @rule(data=st.data())
    def select(self, data: st.DataObject) -> None:
        chosen = data.draw(
            st.lists(st.integers(0, self.cache.rows - 1), min_size=1, max_size=5), label="sources"
        )
        self.cache.select(chosen)
        self.lists = [[list(layer) for layer in self.lists[row]] for row in chosen]
        self.names = [self.names[row] for row in chosen]

    @rule(data=st.data())
    def truncate(self, data: st.DataObject) -> None:
        row = data.draw(st.integers(0, self.cache.rows - 1))
        length = data.draw(st.integers(0, self.cache.lengths[row]))
        self.cache.truncate(row, length)
        self.lists[row] = [layer[:length] for layer in self.lists[row]]

    @rule(capacity=st.integers(1, 30))
    def reserve(self, capacity: int) -> None:
        self.cache.reserve(capacity)
        assert self.cache.capacity >= capacity

    @invariant()
    def holds_what_was_written(self) -> None:
        assert self.cache.lengths == [len(row[0]) for row in self.lists]
        assert [source[0] for source in self.cache.sources] == self.names
        for layer in range(2):
            for row, lists in enumerate(self.lists):
                for column, expected in enumerate(lists[layer]):
                    assert torch.equal(self.cache.keys[layer][row, :, column], expected)
                    assert torch.equal(self.cache.values[layer][row, :, column], -expected)


TestCache = CacheMachine.TestCase
TestCache.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)


def _config(**changes: Any) -> ModelConfig:
    fields: dict[str, Any] = {
        "family": "llama",
        "shape": "decoder",
        "head": "language-model",
        "vocab_size": VOCABULARY,
        "hidden_size": 24,
        "num_layers": 3,
        "num_heads": 6,
        "head_dim": 4,
        "intermediate_size": 31,
        "max_context": 64,
        "initializer_range": 0.2,
        "decoder_start_id": 1,
    }
    return ModelConfig(**{**fields, **changes})


TWO: dict[str, Any] = {
    "shape": "encoder-decoder",
    "num_layers": 1,
    "decoder_layers": 3,
    "decoder_heads": 3,
}
SLIDING: dict[str, Any] = {"sliding_window": 4, "layer_kinds": ("sliding", "full", "sliding")}
SHAPES: dict[str, ModelConfig] = {
    "rotary": _config(num_kv_heads=2),
    "one key head": _config(num_kv_heads=1, qk_norm=True),
    "partly rotated": _config(rope=Rope(fraction=0.5)),
    "sliding": _config(**SLIDING, num_kv_heads=3, rope_local=Rope(theta=100.0)),
    "capped": _config(attention_softcap=2.0, logit_softcap=4.0, num_kv_heads=2),
    "capped and sliding": _config(**SLIDING, attention_softcap=2.0, norm_place="both"),
    "learned": _config(position="learned", position_offset=2, norm_place="after"),
    "sinusoidal": _config(position="sinusoidal", embedding_norm=True),
    "relative": _config(position="relative", relative_buckets=8, relative_max_distance=20),
    "relative and sliding": _config(**SLIDING, position="relative", relative_buckets=8),
    "relative and capped": _config(position="relative", attention_softcap=2.0),
    "none": _config(position="none", gated=False, activation="relu"),
    "two towers, learned": _config(**TWO, position="learned", position_offset=2),
    "two towers, sinusoidal": _config(**TWO, position="sinusoidal", norm_place="after"),
    "two towers, relative": _config(**TWO, position="relative", attention_scale=1.0),
}


@pytest.fixture(params=SHAPES)
def model(request: pytest.FixtureRequest) -> Transformer:
    torch.manual_seed(len(request.param))
    model = Transformer(SHAPES[request.param]).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "norm" in name or name.endswith("bias"):
                p.add_(torch.randn_like(p) * 0.2)
    return model


def _whole(model: Transformer, source: Tensor, tokens: list[int]) -> Tensor:
    """Logits [T, V] of a whole text, read at once and by itself."""
    ids = torch.tensor([tokens])
    two = model.config.shape == "encoder-decoder"
    out = model(source[None], None, ids) if two else model(ids)
    assert out.logits is not None
    logits: Tensor = out.logits[0]
    return logits


def _open(model: Transformer, sources: list[Tensor]) -> Cache:
    cache = model.new_cache(len(sources), 1)
    if model.encoder is not None:
        for row, source in enumerate(sources):
            model.remember(cache, row, source)
    return cache


def _sources(count: int) -> list[Tensor]:
    return [torch.randint(0, VOCABULARY, (n,)) for n in torch.randint(1, 12, (count,)).tolist()]


@pytest.mark.parametrize("seed", range(3))
@torch.no_grad()
def test_ragged_rows_are_their_texts_read_at_once(model: Transformer, seed: int) -> None:
    """Rows grow by pieces of any length, in any company, are copied, dropped and cut back."""
    draw = random.Random(seed)
    torch.manual_seed(seed)
    sources = _sources(3)
    texts: list[list[int]] = [[] for _ in sources]
    cache = _open(model, sources)
    for _ in range(12):
        rows = draw.sample(range(cache.rows), draw.randint(1, cache.rows))
        tokens = draw.choice([1, 1, 2, 5])
        ids = torch.randint(0, VOCABULARY, (len(rows), tokens))
        every = draw.random() < 0.7
        logits = model.extend(ids, cache, rows=rows, every=every)
        for i, row in enumerate(rows):
            texts[row] += ids[i].tolist()
            expected = _whole(model, sources[row], texts[row])
            mine = logits[i] if every else logits[i : i + 1]
            torch.testing.assert_close(mine, expected[-len(mine) :], atol=CLOSE, rtol=CLOSE)
        if draw.random() < 0.4:
            chosen = [draw.randrange(cache.rows) for _ in range(draw.choice([3, 3, 2, 4]))]
            cache.select(chosen)
            texts, sources = [[*texts[i]] for i in chosen], [sources[i] for i in chosen]
        if draw.random() < 0.3:
            row = draw.randrange(cache.rows)
            length = draw.randint(0, len(texts[row]))
            cache.truncate(row, length)
            del texts[row][length:]


@torch.no_grad()
def test_a_row_alone_is_the_row_in_company(model: Transformer) -> None:
    """The logits of a row, step by step, whatever the lengths of the rows around it."""
    torch.manual_seed(5)
    sources = _sources(4)
    prompts = [torch.randint(0, VOCABULARY, (1, n)) for n in (3, 7, 1, 7)]
    together, alone = _open(model, sources), [_open(model, [s]) for s in sources]
    for row, prompt in enumerate(prompts):
        first = model.extend(prompt, together, rows=[row])
        torch.testing.assert_close(
            first, model.extend(prompt, alone[row]), atol=CLOSE, rtol=CLOSE
        )  # fmt: skip
    for _ in range(5):
        ids = torch.randint(0, VOCABULARY, (4, 1))
        logits = model.extend(ids, together)
        for row in range(4):
            expected = model.extend(ids[row : row + 1], alone[row])[0]
            torch.testing.assert_close(logits[row], expected, atol=CLOSE, rtol=CLOSE)


@pytest.mark.parametrize("side", ["left", "right"])
@torch.no_grad()
def test_padding_changes_nothing(model: Transformer, side: str) -> None:
    torch.manual_seed(6)
    sources, texts = _sources(3), [torch.randint(0, VOCABULARY, (n,)) for n in (9, 1, 6)]

    def pad(rows: list[Tensor]) -> tuple[Tensor, Tensor]:
        longest = max(map(len, rows))
        ids = torch.zeros(len(rows), longest, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for i, row in enumerate(rows):
            place = slice(len(row)) if side == "right" else slice(longest - len(row), longest)
            ids[i, place], mask[i, place] = row, 1
        return ids, mask

    (ids, mask), (source_ids, source_mask) = pad(texts), pad(sources)
    if model.encoder is None:
        logits = model(ids, mask).logits
    else:
        logits = model(source_ids, source_mask, ids, decoder_mask=mask).logits
    assert logits is not None
    for row, text in enumerate(texts):
        expected = _whole(model, sources[row], text.tolist())
        torch.testing.assert_close(logits[row][mask[row].bool()], expected, atol=CLOSE, rtol=CLOSE)


def test_a_text_longer_than_the_table_of_positions_is_refused() -> None:
    for name in ("learned", "two towers, learned"):
        model = Transformer(SHAPES[name]).eval()
        cache = _open(model, _sources(1))
        model.extend(torch.zeros(1, 60, dtype=torch.long), cache)
        with pytest.raises(InputError, match="at most 64"):
            model.extend(torch.zeros(1, 5, dtype=torch.long), cache)
        assert cache.lengths == [60]
