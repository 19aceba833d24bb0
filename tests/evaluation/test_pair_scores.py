"""Encoder-decoders: targets given sources, and the repair of texts, against transformers."""

import math
from pathlib import Path

import pytest
import torch

import hanlin
from hanlin.data.tokens import TokenArray
from hanlin.errors import ConfigError, InputError
from hanlin.evaluation import evaluate
from hanlin.evaluation.page import summary
from hanlin.tasks import LanguageModel
from hanlin.training.objectives import SpanCorruption
from tiny_models import CORPUS, byte_tokenizer

PAIRS = [
    ("The academy", "翰林院"),
    ("What is a token?", "什么是词元？"),
    ("a", "A token is a word, or a part of a word."),
    *((text, text[::-1]) for text in CORPUS[:5]),
]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    transformers = pytest.importorskip("transformers")
    from hanlin.tokenizers import SpecialTokens, Tokenizer

    plain = byte_tokenizer()
    sentinels = tuple(f"<extra_id_{number}>" for number in range(40))
    special = SpecialTokens(bos="<|endoftext|>", eos="<|endoftext|>", extra=sentinels)
    tokenizer = Tokenizer(plain.backend, special=special)
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=tokenizer.vocab_size,
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_heads=4,
        decoder_start_token_id=tokenizer.eos_id,
        eos_token_id=tokenizer.eos_id,
        pad_token_id=tokenizer.eos_id,
        initializer_factor=3.0,
    )
    path = tmp_path_factory.mktemp("evaluated") / "t5"
    transformers.T5ForConditionalGeneration(config).eval().save_pretrained(path)
    tokenizer.save(path)
    return path


@pytest.fixture(scope="module")
def lm(directory: Path):
    return hanlin.load(directory, dtype="float32")


@pytest.fixture(scope="module")
def reference(directory: Path):
    import transformers

    return transformers.T5ForConditionalGeneration.from_pretrained(directory).eval()


def cost(reference, source: list[int], target: list[int]) -> list[float]:
    """What each token of the target costs, by transformers."""
    with torch.no_grad():
        logits = reference(input_ids=torch.tensor([source]), labels=torch.tensor([target])).logits[
            0
        ]
    logs = logits.double().log_softmax(-1)
    return (-logs[torch.arange(len(target)), torch.tensor(target)]).tolist()


def test_each_target_costs_what_transformers_says(lm, reference):
    end = lm.tokenizer.eos_id
    want, size = [], 0
    for source, target in PAIRS:
        want += cost(
            reference,
            [*lm.tokenizer.encode(source), end],
            [*lm.tokenizer.encode(target), end],
        )
        size += len(target.encode())
    found = evaluate(lm, pairs=PAIRS)
    assert found.model.tokens == len(want)
    assert found.documents == len(PAIRS)
    loss = sum(want) / len(want)
    assert found.metrics["loss"].value == pytest.approx(loss, abs=1e-4)
    assert found.metrics["perplexity"].value == pytest.approx(math.exp(loss), rel=1e-3)
    bits = sum(want) / math.log(2) / size
    assert found.metrics["bits_per_byte"].value == pytest.approx(bits, abs=1e-4)
    assert "targets+end" in found.metrics["loss"].signature


def test_pairs_come_from_columns_and_from_two_files(lm, tmp_path):
    table = tmp_path / "pairs.tsv"
    table.write_text("".join(f"{a}\t{b}\n" for a, b in PAIRS), encoding="utf-8")
    sides = [tmp_path / "a.txt", tmp_path / "b.txt"]
    for place, side in enumerate(sides):
        side.write_text("".join(pair[place] + "\n" for pair in PAIRS), encoding="utf-8")
    want = evaluate(lm, pairs=PAIRS).metrics["loss"].value
    assert evaluate(lm, table, source="1", target="2").metrics["loss"].value == want
    assert evaluate(lm, sides).metrics["loss"].value == want


def test_two_models_are_compared_pair_by_pair_where_both_read_the_same(lm, directory, monkeypatch):
    other = hanlin.load(directory, dtype="float32")
    other.name = "other"
    with torch.no_grad():
        for weight in other.network.parameters():
            weight.mul_(0.9)
    pairs = [*PAIRS, *((source[::-1], target) for source, target in PAIRS)]
    found = evaluate(lm, pairs=pairs, against=[other])
    alone = [evaluate(one, pairs=pairs).metrics["bits_per_byte"].value for one in (lm, other)]
    behind = found.others[0].behind["bits_per_byte"]
    assert behind.difference.value == pytest.approx(alone[0] - alone[1])
    assert behind.difference.low < behind.difference.value < behind.difference.high
    assert 0 < behind.p_value <= 1
    page = summary(found).terminal(width=100, language="en")
    assert "Compared on the same examples" in page
    assert "bits/byte" in page

    shorter = property(lambda self: 40 if self.name == "other" else None)
    monkeypatch.setattr(LanguageModel, "context", shorter)
    found = evaluate(lm, pairs=pairs, against=[other])
    assert found.others[0].behind == {}
    assert any("no paired test" in note for note in found.notes)


def test_repairs_are_compared_row_by_row(lm, directory):
    other = hanlin.load(directory, dtype="float32")
    other.name = "other"
    with torch.no_grad():
        for weight in other.network.parameters():
            weight.mul_(0.9)
    asked = {"texts": CORPUS, "objective": "span-corruption", "context": 32}
    found = evaluate(lm, against=[other], **asked)
    name = "span_corruption_loss"
    gain = found.metrics[name].value - evaluate(other, **asked).metrics[name].value
    behind = found.others[0].behind[name]
    assert behind.difference.value == pytest.approx(gain)
    assert behind.difference.low < gain < behind.difference.high


def test_pairs_that_do_not_fit_are_left_out_and_told(lm):
    long = ("a " * 90, "b")
    found = evaluate(lm, pairs=[*PAIRS, long], context=60)
    assert found.documents < len(PAIRS) + 1
    assert "left out" in found.notes[0]
    with pytest.raises(InputError, match="No pair fits"):
        evaluate(lm, pairs=[long], context=5)


def test_on_a_text_it_is_asked_to_do_what_it_was_trained_for(lm, reference):
    texts = [" ".join(CORPUS[:6])]
    examples = SpanCorruption().examples(
        TokenArray.encode(texts, lm.tokenizer),
        tokenizer=lm.tokenizer,
        length=64,
        seed=3,
        validation=True,
    )
    want: list[float] = []
    for row in range(len(examples)):
        example = examples.example(row, 0)
        want += cost(reference, example.ids.tolist(), example.targets.tolist())
    found = evaluate(lm, texts=texts, objective="span-corruption", context=64, seed=3)
    assert list(found.metrics) == ["span_corruption_loss"]
    assert found.model.tokens == len(want)
    assert found.metrics["span_corruption_loss"].value == pytest.approx(
        sum(want) / len(want), abs=1e-4
    )


def test_without_pairs_it_says_what_it_needs(lm, tmp_path):
    with pytest.raises(ConfigError, match="a source and a target"):
        evaluate(lm, texts=["some text"])
    file = tmp_path / "text.txt"
    file.write_text("some text", encoding="utf-8")
    with pytest.raises(InputError, match="belong together"):
        evaluate(lm, file)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"stride": 3}, "ignored"),
        ({"stream": True}, "ignored"),
        ({"limit": 3}, "ignored"),
        ({"baselines": "x"}, "left to right"),
        ({"metrics": ["masked_loss"]}, "no metric"),
    ],
)
def test_settings_that_mean_nothing_for_pairs_are_refused(lm, arguments, named):
    with pytest.raises(ConfigError, match=named):
        evaluate(lm, pairs=PAIRS, **arguments)
