"""Embeddings by contrast: the loss is that of a plain loop, equal texts are no wrong answers."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from objective_cases import TEXTS, tokenizer_of

from hanlin.errors import ConfigError, InputError
from hanlin.models.new import new_config
from hanlin.models.pooling import Pooling
from hanlin.models.transformer import Transformer
from hanlin.training.objectives.embed import Embed, EmbedRecord, read_embed_records

RECORDS = [
    EmbedRecord(TEXTS[0], TEXTS[1], TEXTS[2]),
    EmbedRecord(TEXTS[2], TEXTS[3]),
    EmbedRecord(TEXTS[4], TEXTS[5], TEXTS[3]),
    EmbedRecord(TEXTS[0], TEXTS[5]),  # the same anchor as the first
    EmbedRecord("what is it?", TEXTS[1]),  # the same positive as the first
]


def encoder(family: str = "bert", *, seed: int = 0) -> Transformer:
    kind = "wordpiece" if family == "bert" else "bpe"
    torch.manual_seed(seed)
    config = new_config(
        family, tokenizer=tokenizer_of(kind), hidden_size=32, num_layers=2, num_heads=2,
        intermediate_size=48, max_context=64, initializer_range=0.2,
    )  # fmt: skip
    return Transformer(Embed().adapt(config, RECORDS)).double().eval()


def vector(model: Transformer, text: str, objective: Embed, length: int = 64) -> np.ndarray:
    kind = "wordpiece" if model.config.family == "bert" else "bpe"
    ids = tokenizer_of(kind).encode(text)
    assert len(ids) <= length
    states = model(torch.tensor([ids])).hidden[0].detach().numpy()
    return {"mean": states.mean(0), "cls": states[0], "lasttoken": states[-1]}[
        objective.pooling or "mean"
    ]


def plainly(model: Transformer, records: list[EmbedRecord], objective: Embed) -> float:
    """The loss, anchor by anchor, in float64."""
    total = 0.0
    sizes = [*objective.dimensions, model.config.hidden_size]
    for size in sizes:

        def unit(text: str, size: int = size) -> np.ndarray:
            cut = vector(model, text, objective)[:size]
            return cut / np.linalg.norm(cut)

        ways = []
        for backward in (False, True) if objective.symmetric else (False,):
            loss = 0.0
            for i, record in enumerate(records):
                pool = [(j, r.positive, r.anchor) for j, r in enumerate(records)]
                wrong = [
                    (positive, anchor)
                    for j, positive, anchor in pool
                    if j != i
                    and positive not in (record.positive, record.anchor)
                    and anchor != record.anchor
                ]
                if backward:
                    # Which anchors may be taken for the one of this positive.
                    wrong_texts = [
                        r.anchor for j, r in enumerate(records)
                        if j != i and r.anchor != record.anchor
                        and record.positive not in (r.positive, r.anchor)
                    ]  # fmt: skip
                    own, right = unit(record.positive), unit(record.anchor)
                else:
                    wrong_texts = [positive for positive, _ in wrong]
                    wrong_texts += [
                        r.negative for r in records
                        if r.negative and r.negative not in (record.positive, record.anchor)
                    ]  # fmt: skip
                    own, right = unit(record.anchor), unit(record.positive)
                logits = [float(own @ unit(text)) for text in wrong_texts]
                mine = objective.scale * float(own @ right)
                loss += math.log(
                    sum(math.exp(objective.scale * logit - mine) for logit in logits) + 1
                )
            ways.append(loss)
        total += sum(ways) / len(ways)
    return total / len(sizes)


@pytest.mark.parametrize(
    ("family", "objective"),
    [
        ("bert", Embed()),
        ("bert", Embed(scale=5.0, symmetric=True)),
        ("bert", Embed(pooling="cls", dimensions=(8, 16))),
        ("llama", Embed(pooling="lasttoken", symmetric=True)),
    ],
)
def test_the_loss_is_that_of_a_plain_loop(family: str, objective: Embed) -> None:
    model = encoder(family)
    examples = objective.examples(
        RECORDS,
        tokenizer=tokenizer_of("wordpiece" if family == "bert" else "bpe"),
        length=64,
        seed=0,
    )
    batch = objective.collate([examples.example(i, 0) for i in range(len(RECORDS))])
    assert batch.target_tokens == len(RECORDS)
    found = objective.loss(model, batch)
    assert found.item() == pytest.approx(plainly(model, RECORDS, objective), rel=1e-5)
    found.backward()
    assert all(p.grad is not None for n, p in model.named_parameters() if "types" not in n)


def test_two_halves_are_not_one_batch() -> None:
    model, objective = encoder(), Embed()
    examples = objective.examples(RECORDS, tokenizer=tokenizer_of("wordpiece"), length=64, seed=0)
    rows = [examples.example(i, 0) for i in range(4)]
    whole = objective.loss(model, objective.collate(rows)).item()
    halves = [
        objective.loss(model, objective.collate(part)).item() for part in (rows[:2], rows[2:])
    ]
    assert whole != pytest.approx(sum(halves), rel=1e-3)


def test_learning_brings_pairs_together() -> None:
    objective = Embed(scale=10.0)
    model = encoder().float().train()
    examples = objective.examples(RECORDS, tokenizer=tokenizer_of("wordpiece"), length=64, seed=0)
    batch = objective.collate([examples.example(i, 0) for i in range(3)])
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        loss = objective.loss(model, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


def test_what_is_too_long_is_cut_and_keeps_its_closing_token() -> None:
    tokenizer = tokenizer_of("wordpiece")
    examples = Embed().examples(
        [EmbedRecord("a token " * 40, "a word")], tokenizer=tokenizer, length=16, seed=0
    )
    anchor, positive = examples.example(0, 0).texts
    assert len(anchor) == 16
    assert anchor[-1] == positive[-1] == tokenizer.sep_id
    assert anchor[0] == tokenizer.cls_id
    assert "1 of 2 texts" in examples.notes[0]
    assert examples.lengths.tolist() == [[16, len(positive)]]


def rows(path: Path, *values: dict[str, Any]) -> list[str]:
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    return [str(path)]


def test_records_are_read(tmp_path: Path) -> None:
    files = rows(
        tmp_path / "a.jsonl",
        {"anchor": "a", "positive": "b", "negative": "c"},
        {"anchor": "d", "positive": "e", "negative": None},
    )
    assert read_embed_records(files, columns={}) == [
        EmbedRecord("a", "b", "c"),
        EmbedRecord("d", "e"),
    ]
    scored = rows(tmp_path / "b.jsonl", {"sentence1": "a", "sentence2": "b", "score": "3.5"})
    assert read_embed_records(scored, columns={}) == [EmbedRecord("a", "b", score=3.5)]
    named = rows(tmp_path / "c.jsonl", {"q": "a", "p": "b"})
    assert read_embed_records(named, columns={"anchor": "q", "positive": "p"}) == [
        EmbedRecord("a", "b")
    ]
    bad = rows(
        tmp_path / "d.jsonl", {"anchor": "a", "positive": ""}, {"anchor": "a", "positive": "b"}
    )
    with pytest.raises(InputError, match="1 of 2 rows"):
        read_embed_records(bad, columns={})
    assert len(read_embed_records(bad, columns={}, skip_bad=True)) == 1


def test_what_cannot_be_learnt_is_refused() -> None:
    with pytest.raises(InputError, match="score"):
        Embed().examples(
            [EmbedRecord("a", "b", score=1.0)], tokenizer=tokenizer_of("bpe"), length=8, seed=0
        )
    with pytest.raises(ConfigError, match="dimensions"):
        Embed(dimensions=(32,)).fitted(RECORDS, encoder().config)
    with pytest.raises(ConfigError, match="pooling"):
        Embed(pooling="middle")
    decoder = SimpleNamespace(hidden_size=32, shape="decoder")
    assert Embed().fitted(RECORDS, decoder).pooling == "lasttoken"  # type: ignore[arg-type]
    assert Embed().fitted(RECORDS, encoder().config).pooling == "mean"


@pytest.mark.parametrize(
    "pooling",
    [
        Pooling(modes=("mean",), normalise=True, max_length=40),
        Pooling(modes=("cls", "max"), lower=True),
        Pooling(modes=("lasttoken",), normalise=True),
    ],
)
def test_pooling_is_written_as_it_is_read(pooling: Pooling, tmp_path: Path) -> None:
    for name, content in pooling.files(32).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps(content), encoding="utf-8")
    assert Pooling.of(tmp_path) == pooling
