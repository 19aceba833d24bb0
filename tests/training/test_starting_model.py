"""The network a run begins with: its head, what it takes over, and that it is still the same."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_runs import Recorder

import hanlin
import hanlin.training.run as run_module
from hanlin.config import read_config
from hanlin.data.classify_records import ClassifyRecord
from hanlin.errors import ConfigError
from hanlin.models import load
from hanlin.models.directory import read_config as read_model_config
from hanlin.models.directory import save_directory
from hanlin.models.lora import LoraSettings, apply_lora, save_adapter
from hanlin.models.transformer import Transformer
from hanlin.tokenizers import Tokenizer
from hanlin.tokenizers.bytelevel import around
from hanlin.training.config import TrainConfig
from hanlin.training.foreseeing import foresee
from hanlin.training.objectives import Objective
from hanlin.training.run import train
from hanlin.training.starting_model import starting_model, weights_hash
from tiny_models import (
    CORPUS,
    add_sentence_files,
    byte_tokenizer,
    decoder,
    save_decoder,
    save_encoder,
)

LABELS = ("good", "bad", "neither")


@pytest.fixture(autouse=True)
def no_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the fifth of a second that each run measures the machine."""
    monkeypatch.setattr(run_module, "machine_peak", lambda precision, seconds: None)


def settings_of(model: Path, objective: Any) -> TrainConfig:
    given = {"model": str(model), "objective": objective, "data": {"train": "x"}, "output": "y"}
    return read_config({**given, "duration": "1 step", "batch": {"length": 32}}, into=TrainConfig)


def begun(
    model: Path, objective: Any, records: Any = ()
) -> tuple[Transformer, Objective, list[str], Tokenizer]:
    """What a run of these settings begins with, and what it says."""
    settings = settings_of(model, objective)
    tokenizer, told = Tokenizer.load(model), list[str]()
    network, fitted, _ = starting_model(
        settings, settings.objective.build(), records, tokenizer, None, tell=told.append
    )
    return network, fitted, told, tokenizer


def labelled(*labels: str) -> list[ClassifyRecord]:
    return [ClassifyRecord(f"text {n}", label) for n, label in enumerate(labels)]


# Heads


@pytest.mark.parametrize("head", ["none", "classify"])
def test_a_bare_encoder_learns_to_guess_words(head: str, tmp_path: Path) -> None:
    """Sentence embedders and classifiers are adapted to a field by masked-lm."""
    from transformers import AutoModelForMaskedLM

    base = save_encoder(tmp_path / "base", head=head, initializer_range=0.05)
    (tmp_path / "text.jsonl").write_text("\n".join(json.dumps({"text": t}) for t in CORPUS))
    watcher = Recorder()
    train(
        {
            "model": str(base),
            "objective": "masked-lm",
            "data": {"train": str(tmp_path / "text.jsonl")},
            "batch": {"sequences": 8, "length": 32},
            "optimizer": {"lr": 3e-3},
            "duration": "30 steps",
            "output": str(tmp_path / "run"),
        },
        watchers=[watcher],
    )
    assert any("head.transform.dense.weight" in text for text in watcher.messages)
    losses = [record.loss for record in watcher.steps]
    print(losses[:5], losses[-5:])
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.5
    theirs = AutoModelForMaskedLM.from_pretrained(tmp_path / "run").eval()
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    with torch.no_grad():
        found, want = load(tmp_path / "run")(ids).logits, theirs(input_ids=ids).logits
    torch.testing.assert_close(found, want, rtol=1e-4, atol=1e-4)


def test_such_a_run_is_foreseen(tmp_path: Path) -> None:
    base = save_encoder(tmp_path / "base", head="none")
    (tmp_path / "text.jsonl").write_text("\n".join(json.dumps({"text": t}) for t in CORPUS))
    given = {"objective": "masked-lm", "data": {"train": str(tmp_path / "text.jsonl")}}
    given |= {"model": str(base), "duration": "8 steps", "output": str(tmp_path / "run")}
    told = foresee(read_config({**given, "batch": {"length": 32}}, into=TrainConfig))
    assert told.steps == 8


def test_the_stack_under_a_fresh_head_stays(tmp_path: Path) -> None:
    base = save_encoder(tmp_path / "base", head="none")
    network, _, told, _ = begun(base, "masked-lm")
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    network.eval()
    torch.testing.assert_close(network.hidden(ids), load(base).hidden(ids), rtol=0, atol=0)
    assert not any("encoder" in text or "embedding" in text for text in told)


def test_a_decoder_that_classified_writes_again(tmp_path: Path) -> None:
    """Its projection is the embedding, so nothing is drawn, and it writes what it wrote."""
    tokenizer = byte_tokenizer()
    writer = decoder(tokenizer, tie_embeddings=True)
    save_directory(writer, tmp_path / "writer", tokenizer=tokenizer)
    network, _, _, _ = begun(tmp_path / "writer", "classify", labelled(*LABELS))
    save_directory(network, tmp_path / "classifier", tokenizer=tokenizer)
    again, _, told, _ = begun(tmp_path / "classifier", "causal-lm")
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    torch.testing.assert_close(again.eval()(ids).logits, writer(ids).logits, rtol=0, atol=0)
    assert told == []


@pytest.mark.parametrize("objective", ["instruct", "prefer", "seq2seq"])
def test_a_classifier_cannot_converse(objective: str, tmp_path: Path) -> None:
    base = save_decoder(tmp_path / "base", head="classify", labels=LABELS, pooling="last",
                        classifier_bias=False)  # fmt: skip
    with pytest.raises(ConfigError, match=f"head 'classify', and {objective} needs one that writ"):
        begun(base, objective)


def test_a_family_without_the_head_says_so(tmp_path: Path) -> None:
    from transformers import T5Config, T5EncoderModel

    sizes = {"vocab_size": 400, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 1}
    T5EncoderModel(T5Config(**sizes, num_heads=4)).save_pretrained(tmp_path / "base")
    byte_tokenizer().save(tmp_path / "base")
    with pytest.raises(ConfigError, match=r"cannot hold the head 'masked-lm'.*another family"):
        begun(tmp_path / "base", "masked-lm")


# More data for a classifier


def test_a_classifier_keeps_its_labels_and_gains_new_ones(tmp_path: Path) -> None:
    base = save_encoder(tmp_path / "base", head="classify")
    own = load(base)
    weight, bias = own.head.projection.weight, own.head.projection.bias  # type: ignore[union-attr]
    network, objective, told, _ = begun(base, "classify", labelled("good", "bad", "good"))
    assert network.config.labels == objective.labels == LABELS  # type: ignore[attr-defined]
    assert torch.equal(network.head.projection.weight, weight)  # type: ignore[union-attr]
    assert told == []
    network, objective, told, _ = begun(base, "classify", labelled("bad", "odd", "bad"))
    assert network.config.labels == objective.labels == (*LABELS, "odd")  # type: ignore[attr-defined]
    assert torch.equal(network.head.projection.weight[:3], weight)  # type: ignore[union-attr]
    assert torch.equal(network.head.projection.bias[:3], bias)  # type: ignore[union-attr]
    assert told[0].endswith("Of head.projection only the rows of odd; the others stay.")
    counts = objective.remember(labelled("bad", "odd", "bad"))["labels"]  # type: ignore[attr-defined]
    assert counts == {"good": 0, "bad": 2, "neither": 0, "odd": 1}


def test_balance_is_among_the_labels_that_the_data_have(tmp_path: Path) -> None:
    base = save_encoder(tmp_path / "base", head="classify")
    given = labelled("bad", "odd", "bad", "bad")
    _, objective, _, _ = begun(base, {"name": "classify", "weights": "balanced"}, given)
    # scikit-learn's formula: records / (labels * records of the label).
    want = {"bad": 4 / (2 * 3), "odd": 4 / (2 * 1)}
    assert objective.weights == pytest.approx(want)  # type: ignore[attr-defined]


# Padding


def test_a_decoder_without_padding_classifies_padded_batches(tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    base = save_decoder(tmp_path / "base")
    rows = [{"text": text, "label": LABELS[n % 3]} for n, text in enumerate(CORPUS)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    train(
        {
            "model": str(base),
            "objective": "classify",
            "data": {"train": str(tmp_path / "rows.jsonl")},
            "batch": {"sequences": 4, "length": 32},
            "duration": "1 step",
            "output": str(tmp_path / "run"),
        },
        watchers=[],
    )
    texts = ["a", "What is a token?", "The academy drafted the words of the emperor."]
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run").eval()
    read = AutoTokenizer.from_pretrained(tmp_path / "run")(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        want = theirs(**read).logits.softmax(-1)
    found = hanlin.load(tmp_path / "run", dtype="float32").probabilities(texts)
    np.testing.assert_allclose(found, want, atol=1e-5)
    # Of a pair the same, with the end token between.
    [ids] = AutoTokenizer.from_pretrained(tmp_path / "run")(["a<|endoftext|>b"])["input_ids"]
    with torch.no_grad():
        want = theirs(input_ids=torch.tensor([ids])).logits.softmax(-1)
    found = hanlin.load(tmp_path / "run", dtype="float32").probabilities([("a", "b")])
    np.testing.assert_allclose(found, want, atol=1e-5)


def test_what_ends_a_text_pads_none(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer()
    around(tokenizer.backend, after=["<|endoftext|>"])
    save_directory(decoder(tokenizer), tmp_path / "base", tokenizer=tokenizer)
    network, _, _, read = begun(tmp_path / "base", "classify", labelled(*LABELS))
    assert network.config.pad_id is None
    assert read.pad_id is None
    base = save_decoder(tmp_path / "other")
    network, _, _, read = begun(base, "classify", labelled(*LABELS))
    assert network.config.pad_id == read.pad_id == read.eos_id


# Pooling


@pytest.mark.parametrize("pooling", [None, "mean"])
def test_vectors_are_pooled_as_those_of_the_base(pooling: str | None, tmp_path: Path) -> None:
    base = save_encoder(tmp_path / "base")
    add_sentence_files(base, modes=("cls",), normalise=False)
    rows = [{"anchor": text, "positive": text[::-1]} for text in CORPUS[:5]]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    watcher = Recorder()
    train(
        {
            "model": str(base),
            "objective": {"name": "embed", "pooling": pooling} if pooling else "embed",
            "data": {"train": str(tmp_path / "rows.jsonl")},
            "batch": {"sequences": 4, "length": 24},
            "optimizer": {"name": "sgd", "lr": 1e-12, "momentum": 0.0},
            "duration": "1 step",
            "output": str(tmp_path / "run"),
        },
        watchers=[watcher],
    )
    found = hanlin.load(tmp_path / "run", dtype="float32").embed(CORPUS[:2])
    if pooling is None:
        assert any("pooled as those of" in text and "cls" in text for text in watcher.messages)
        want = hanlin.load(base, dtype="float32").embed(CORPUS[:2])
        want /= np.linalg.norm(want, axis=1, keepdims=True)
        np.testing.assert_allclose(found, want, atol=1e-5)
    about = json.loads((tmp_path / "run" / "1_Pooling" / "config.json").read_text())
    assert about["pooling_mode_cls_token"] is (pooling is None)
    assert about["pooling_mode_mean_tokens"] is (pooling == "mean")


def test_texts_are_put_in_lower_case_where_the_base_does(tmp_path: Path) -> None:
    from hanlin.training.objectives.embed import EmbedRecord

    base = save_encoder(tmp_path / "base")
    add_sentence_files(base, modes=("mean",), normalise=True)
    limits = {"max_seq_length": 32, "do_lower_case": True}
    (base / "sentence_bert_config.json").write_text(json.dumps(limits))
    _, objective, _, tokenizer = begun(base, "embed", [EmbedRecord("THE Words", "of")])
    made = objective.examples(
        [EmbedRecord("THE Words", "OF")], tokenizer=tokenizer, length=32, seed=0
    )
    assert made.example(0, 0).texts[0].tolist() == tokenizer.encode("the words")
    files = objective.files(read_model_config(base), length=32)  # type: ignore[attr-defined]
    assert files["sentence_bert_config.json"]["do_lower_case"] is True


def test_pooling_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    base = save_encoder(tmp_path / "base")
    add_sentence_files(base, modes=("mean",), normalise=True)
    prompts = base / "config_sentence_transformers.json"
    prompts.write_text(json.dumps({"prompts": {"q": "query: "}, "default_prompt_name": "q"}))
    with pytest.raises(ConfigError, match=r"prompt 'query: '.*objective.pooling: mean"):
        begun(base, "embed")
    begun(base, {"name": "embed", "pooling": "mean"})
    prompts.unlink()
    modules = json.loads((base / "modules.json").read_text())
    modules.append({"idx": 3, "name": "3", "path": "3_Dense", "type": "x.models.Dense"})
    (base / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ConfigError, match=r"step 'Dense'.*set objective.pooling"):
        begun(base, "embed")


# Going on


@pytest.mark.parametrize("objective", ["prefer", "distil"])
def test_a_run_goes_on_beside_the_very_same_model(objective: str, tmp_path: Path) -> None:
    """A checkpoint has neither the reference of preferences nor the teacher."""
    base = save_decoder(tmp_path / "base")
    options: dict[str, Any] = {"name": "prefer"}
    answers = {"chosen": "A token.", "rejected": "No."}
    rows: list[dict[str, Any]] = [{"prompt": f"{n}?", **answers} for n in range(4)]
    if objective == "distil":
        options, rows = {"name": "distil", "teacher": str(base)}, [{"text": CORPUS[0]}] * 4
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config = {
        "model": str(base),
        "objective": options,
        "data": {"train": str(tmp_path / "rows.jsonl")},
        "batch": {"sequences": 2, "length": 24 if objective == "distil" else 90},
        "duration": "1 step",
        "checkpoint": {"every": "1 step"},
        "output": str(tmp_path / "run"),
    }
    if objective == "prefer":
        options["template"] = "chatml"
    train(config, watchers=[])
    assert train(config, watchers=[], resume=True, overrides=["duration=2 steps"]).steps == 2
    for path in base.iterdir():
        path.unlink()
    save_decoder(base, seed=1)
    with pytest.raises(ConfigError, match="base is another model than this run began with"):
        train(config, watchers=[], resume=True, overrides=["duration=3 steps"])


def test_all_weights_go_on_without_what_they_began_as(tmp_path: Path) -> None:
    """A checkpoint has all that is needed; what the first step read may have changed since."""
    base = save_encoder(tmp_path / "base", head="masked-lm")
    tokenizer = Tokenizer.load(base)
    settings = settings_of(base, "masked-lm")
    found: Any = SimpleNamespace(path=base, state={"parents": {str(base): "as it was"}})
    _, _, parents = starting_model(
        settings, settings.objective.build(), (), tokenizer, found, tell=print
    )
    assert parents == {str(base): "as it was"}


def test_an_adapter_is_not_the_same_on_another_base(tmp_path: Path) -> None:
    base = save_decoder(tmp_path / "base")
    network = load(base)
    apply_lora(network, LoraSettings(rank=2))
    adapter = save_adapter(network, tmp_path / "adapter", base=str(base))
    first = weights_hash(adapter)
    assert weights_hash(adapter) == first != weights_hash(base)
    for path in base.iterdir():
        path.unlink()
    save_decoder(base, seed=1)
    assert weights_hash(adapter) != first
