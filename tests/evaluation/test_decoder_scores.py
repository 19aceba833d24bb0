"""Decoders on texts: against transformers in a plain loop, window by window."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers.processors import TemplateProcessing

import hanlin
from hanlin.errors import ConfigError, InputError
from hanlin.evaluation import evaluate
from hanlin.evaluation.decoders import Reading, score_texts
from hanlin.evaluation.scores import BLOCK
from hanlin.tasks import LanguageModel
from hanlin.tokenizers import Tokenizer
from tiny_models import CONTEXT, CORPUS, save_decoder

LONG = "".join(CORPUS) * 2
TEXTS = [
    "翰林院的学士起草诏书。",
    LONG,
    "a",
    "The academy 😀 drafted, examined.\n\n",
    " 什么是词元？ Numbers such as 3, 14 and 1592 are text too.",
    "é\u0301 \u200b unusual \x00 bytes",
]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_decoder(tmp_path_factory.mktemp("evaluated") / "llama")


@pytest.fixture(scope="module")
def lm(directory: Path) -> LanguageModel:
    model = hanlin.load(directory, dtype="float32")
    assert isinstance(model, LanguageModel)
    return model


@pytest.fixture(scope="module")
def reference(directory: Path):
    transformers = pytest.importorskip("transformers")
    return transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()


def nats_of(reference, ids: list[int]) -> list[float]:
    """What each of ids[1:] costs after those before it, by transformers."""
    with torch.no_grad():
        logs = reference(torch.tensor([ids])).logits[0, :-1].double().log_softmax(-1)
    return (-logs[torch.arange(len(ids) - 1), torch.tensor(ids[1:])]).tolist()


def plain_loop(
    reference, ids: list[int], *, context: int, stride: int, lead: list[int] | None = None
) -> list[float]:
    """What each of ids[1:] costs in windows: the first full, later ones each `stride` further."""
    nats = nats_of(reference, ids[: context + 1])
    while len(nats) < len(ids) - 1:
        end = min(1 + len(nats) + stride, len(ids))
        before = lead or []
        begin = end - 1 - (context - len(before))
        new = end - 1 - len(nats)
        nats += nats_of(reference, [*before, *ids[begin:end]])[-new:]
    return nats


@pytest.mark.parametrize(
    ("context", "stride"), [(None, None), (40, None), (40, 40), (40, 1), (17, 5), (1, 1)]
)
def test_every_token_costs_what_transformers_says(lm, reference, context, stride):
    texts = [text[:150] for text in TEXTS] if context in (1, 17) or stride == 1 else TEXTS
    found = evaluate(lm, texts=texts, context=context, stride=stride)
    width = context or CONTEXT
    want: list[float] = []
    for text in texts:
        ids = [lm.tokenizer.bos_id, *lm.tokenizer.encode(text)]
        want += plain_loop(reference, ids, context=width, stride=stride or max(1, width // 2))
    assert found.model.tokens == len(want)
    size = sum(len(text.encode()) for text in texts)
    assert found.bytes == size
    loss = sum(want) / len(want)
    assert found.metrics["loss"].value == pytest.approx(loss, abs=1e-4)
    assert found.metrics["perplexity"].value == pytest.approx(math.exp(loss), rel=1e-4)
    bits = sum(want) / math.log(2) / size
    assert found.metrics["bits_per_byte"].value == pytest.approx(bits, abs=1e-4)


def test_token_by_token_too(lm, reference):
    reading = Reading.of(lm, context=33, stride=7)
    for text, score in zip(TEXTS, score_texts(lm, TEXTS, reading), strict=True):
        ids = [lm.tokenizer.bos_id, *lm.tokenizer.encode(text)]
        want = plain_loop(reference, ids, context=33, stride=7)
        assert score.nats == pytest.approx(want, abs=1e-4)
        assert score.ends[-1] == len(text.encode())
        assert (np.diff(score.ends) >= 0).all()


def test_the_share_of_first_choices(lm, reference):
    text = TEXTS[4]
    ids = [lm.tokenizer.bos_id, *lm.tokenizer.encode(text)]
    with torch.no_grad():
        best = reference(torch.tensor([ids])).logits[0, :-1].argmax(-1).tolist()
    right = sum(a == b for a, b in zip(best, ids[1:], strict=True))
    found = evaluate(lm, texts=[text]).metrics["accuracy"].value
    assert found == pytest.approx(right / (len(ids) - 1))


@given(
    texts=st.lists(st.text(max_size=60), min_size=1, max_size=6),
    context=st.integers(1, CONTEXT),
    data=st.data(),
)
@settings(deadline=None, max_examples=25)
def test_each_token_is_scored_once_whatever_the_windows(lm, texts, context, data):
    texts = [t for t in texts if t and not any(0xD800 <= ord(c) < 0xE000 for c in t)] or ["x"]
    stride = data.draw(st.integers(1, context))
    found = evaluate(lm, texts=texts, context=context, stride=stride)
    assert found.model.tokens == sum(len(lm.tokenizer.encode(text)) for text in texts)
    assert found.bytes == sum(len(text.encode()) for text in texts)


def test_documents_do_not_see_each_other_unless_they_are_one_stream(lm, reference):
    first, second = TEXTS[0] + "\n", TEXTS[4]
    apart = evaluate(lm, texts=[first, second])
    backwards = evaluate(lm, texts=[second, first])
    assert apart.metrics["loss"].value == pytest.approx(backwards.metrics["loss"].value, abs=1e-6)
    together = evaluate(lm, texts=[first, second], stream=True)
    ids = [lm.tokenizer.bos_id, *lm.tokenizer.encode(first + second + "\n")]
    want = np.mean(plain_loop(reference, ids, context=CONTEXT, stride=CONTEXT // 2))
    assert together.metrics["loss"].value == pytest.approx(want, abs=1e-4)
    assert together.documents == 1
    assert "one-stream" in together.metrics["loss"].signature


def test_empty_documents_are_left_out_and_told(lm):
    found = evaluate(lm, texts=["", TEXTS[0], ""])
    assert found.documents == 1
    assert any("2 empty documents" in note for note in found.notes)
    with pytest.raises(InputError, match="no text"):
        evaluate(lm, texts=["", ""])


def test_without_a_start_token_the_first_token_is_not_scored(directory, reference):
    lm = hanlin.load(directory, dtype="float32")
    lm.network.config = lm.network.config.with_changes(eos_ids=(), bos_id=None)
    lm.tokenizer.bos_id = lm.tokenizer.eos_id = None
    text = TEXTS[4]
    found = evaluate(lm, texts=[text])
    ids = lm.tokenizer.encode(text)
    want = nats_of(reference, ids)
    assert found.metrics["loss"].value == pytest.approx(np.mean(want), abs=1e-4)
    left = len(text.encode()) - len(lm.tokenizer.token_bytes(ids[0]))
    bits = sum(want) / math.log(2) / left
    assert found.metrics["bits_per_byte"].value == pytest.approx(bits, abs=1e-4)
    assert "start:not scored" in found.metrics["loss"].signature


def test_a_begin_token_of_the_tokenizers_own_begins_every_window(directory, tmp_path, reference):
    tokenizer = Tokenizer.load(directory)
    begin = tokenizer.bos_id
    tokenizer.backend.post_processor = TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", begin)]
    )
    lm = hanlin.load(directory, dtype="float32")
    lm.tokenizer = tokenizer
    ids = tokenizer.encode(LONG)
    assert ids[0] == begin
    found = evaluate(lm, texts=[LONG], context=30, stride=10)
    want = plain_loop(reference, ids, context=30, stride=10, lead=[begin])
    assert found.metrics["loss"].value == pytest.approx(np.mean(want), abs=1e-4)
    assert "every window" in found.metrics["loss"].signature


def test_of_few_documents_the_interval_is_over_blocks(lm):
    text = LONG * 6
    found = evaluate(lm, texts=[text] * 2)
    assert 2 * len(text.encode()) > 8 * BLOCK
    score = found.metrics["bits_per_byte"]
    assert f"over:blocks({BLOCK}B)" in score.signature
    assert score.low is not None
    assert score.low < score.value < score.high
    many = evaluate(lm, texts=TEXTS * 2)
    assert "over:documents|n:12" in many.metrics["loss"].signature


def test_what_the_tokenizer_loses_is_told(lm, monkeypatch):
    assert evaluate(lm, texts=TEXTS).notes == ()
    decode = Tokenizer.decode
    monkeypatch.setattr(Tokenizer, "decode", lambda self, ids: decode(self, ids).lower())
    [note] = evaluate(lm, texts=TEXTS).notes
    assert "3 of 6 documents" in note


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"context": CONTEXT + 1}, f"at most {CONTEXT}"),
        ({"context": 0}, "at least 1"),
        ({"context": 10, "stride": 11}, "from 1 to 10"),
        ({"stride": 0}, "from 1"),
        ({"metrics": ["perplexty"]}, "'perplexity'"),
        ({"metrics": []}, "No metric"),
        ({"limit": 0}, "limit"),
        ({"pairs": [("a", "b")]}, "one of them"),
        ({"source": "1", "target": "2"}, "not on pairs"),
        ({"objective": "masked-lm"}, "encoder"),
    ],
)
def test_settings_that_cannot_be_met_are_refused(lm, arguments, named):
    with pytest.raises(ConfigError, match=named):
        evaluate(lm, texts=["some text"], **arguments)


def test_a_limit_cuts_between_characters(lm):
    found = evaluate(lm, texts=["翰林" * 20, "more"], limit=20)
    assert found.bytes == 18
    assert "18 bytes" in found.notes[0]
