"""Classification beside transformers: the same losses from the same directory, for every shape."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from hanlin.data.batch import Batch
from hanlin.data.classify_records import ClassifyRecord
from hanlin.data.loader import Loader
from hanlin.errors import ConfigError, InputError
from hanlin.models import load
from hanlin.models.directory import save_directory
from hanlin.models.new import new_config
from hanlin.models.transformer import Transformer
from hanlin.tokenizers import Tokenizer
from hanlin.tokenizers import train as learn
from hanlin.training.objectives import Classify
from tiny_models import CORPUS, byte_tokenizer, save_decoder, save_encoder, word_tokenizer

LABELS = ("bad", "good", "neither")
SIZES: dict[str, Any] = {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "max_context": 96}


def records(number: int = 12, *, seed: int = 0, **changes: Any) -> list[ClassifyRecord]:
    """Texts of several lengths with one of three labels."""
    draw = random.Random(seed)
    words = " ".join(CORPUS).split()
    return [
        ClassifyRecord(
            " ".join(draw.choices(words, k=draw.randint(2, 14))), LABELS[n % 3], **changes
        )
        for n in range(number)
    ]


def saved(directory: Path, shape: str) -> Path:
    """A tiny reference model without a classifier's head."""
    if shape == "encoder":
        return save_encoder(directory, head="none")
    if shape == "decoder":
        return save_decoder(directory, pad_id=3)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer = learn(CORPUS, kind="bpe", vocab_size=400, special_tokens=special)
    from hanlin.tokenizers.bytelevel import around

    around(tokenizer.backend, after=["</s>"])
    config = new_config("bart", tokenizer=tokenizer, initializer_range=0.2, **SIZES)
    torch.manual_seed(0)
    return save_directory(Transformer(config).eval(), directory, tokenizer=tokenizer)


def classifier(
    directory: Path, shape: str, given: list[ClassifyRecord], **options: Any
) -> tuple[Transformer, Classify, Tokenizer]:
    """The reference with a head of its own, as a run would begin with it."""
    from hanlin.models.transfer import take_weights

    reference = load(saved(directory / "reference", shape))
    objective = Classify(**options).fitted(given, reference.config)
    torch.manual_seed(1)
    model = Transformer(objective.adapt(reference.config, given))
    take_weights(model, reference)
    return model, objective, Tokenizer.load(directory / "reference")


def batch_of(
    objective: Classify, given: list[ClassifyRecord], tokenizer: Tokenizer, **how: Any
) -> Batch:
    examples = objective.examples(given, tokenizer=tokenizer, length=24, seed=0, **how)
    return objective.collate([examples.example(n, 0) for n in range(len(examples))])


@pytest.mark.parametrize("shape", ["encoder", "decoder", "encoder-decoder"])
def test_the_loss_is_that_of_transformers(shape: str, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    given = records()
    model, objective, tokenizer = classifier(tmp_path, shape, given)
    save_directory(model, tmp_path / "made", tokenizer=tokenizer)
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "made").eval().double()
    assert theirs.config.id2label == dict(enumerate(LABELS))
    model.eval().double()
    # Of one length at a time: transformers' decoders find the last token by the padding's id.
    for number, record in enumerate(given):
        batch = batch_of(objective, [record], tokenizer)
        assert batch.target_tokens == 1
        with torch.no_grad():
            expected = theirs(input_ids=batch.ids, labels=batch.targets).loss
            found = objective.loss(model, batch)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
        assert LABELS[int(batch.targets[0])] == LABELS[number % 3]
    # And padded side by side they add up.
    together = objective.loss(model, batch_of(objective, given, tokenizer))
    apart = sum(objective.loss(model, batch_of(objective, [r], tokenizer)) for r in given)
    torch.testing.assert_close(together, apart, rtol=1e-5, atol=1e-6)


def test_a_pair_is_read_as_transformers_reads_it(tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    given = [
        ClassifyRecord(r.text, r.label, other.text)
        for r, other in zip(records(), records(seed=1), strict=True)
    ]
    model, objective, tokenizer = classifier(tmp_path, "encoder", given)
    save_directory(model, tmp_path / "made", tokenizer=tokenizer)
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "made").eval()
    batch = batch_of(objective, given, tokenizer)
    assert batch.mask is not None
    assert batch.token_types is not None
    assert set(batch.token_types.unique().tolist()) == {0, 1}
    assert batch.ids.shape[1] <= 24
    with torch.no_grad():
        expected = theirs(
            input_ids=batch.ids,
            attention_mask=batch.mask.long(),
            token_type_ids=batch.token_types,
            labels=batch.targets,
        ).loss
        found = objective.loss(model.eval(), batch) / batch.target_tokens
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_pairs_that_are_too_long_lose_from_the_longer_text_first() -> None:
    tokenizer = word_tokenizer()
    given = [ClassifyRecord("the words " * 20, "good", "a token"), ClassifyRecord("a", "bad", "b")]
    objective = Classify(labels=("bad", "good"))
    examples = objective.examples(given, tokenizer=tokenizer, length=16, seed=0)
    whole = tokenizer.encode("a token", add_special_tokens=False)
    example = examples.example(0, 0)
    assert len(example.ids) == 16
    assert example.ids[-1 - len(whole) : -1].tolist() == whole
    assert example.ids[0] == tokenizer.cls_id
    assert example.ids[-1] == tokenizer.sep_id
    assert "1 of 2 texts are longer than 16 tokens" in examples.notes[0]


def test_several_labels_are_judged_each_by_itself(tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    sets = [("bad",), ("bad", "neither"), (), ("good", "neither")]
    given = [
        ClassifyRecord(record.text, labels) for record, labels in zip(records(4), sets, strict=True)
    ]
    model, objective, tokenizer = classifier(tmp_path, "encoder", given)
    assert model.config.problem == "multiple"
    save_directory(model, tmp_path / "made", tokenizer=tokenizer)
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "made").eval()
    batch = batch_of(objective, given, tokenizer)
    assert batch.scores is not None
    assert batch.scores.tolist() == [[1, 0, 0], [1, 0, 1], [0, 0, 0], [0, 1, 1]]
    with torch.no_grad():
        found = objective.loss(model.eval(), batch) / batch.target_tokens
        mask = None if batch.mask is None else batch.mask.long()
        out = theirs(input_ids=batch.ids, attention_mask=mask, labels=batch.scores)
    torch.testing.assert_close(found, out.loss, rtol=1e-4, atol=1e-5)


def test_weights_and_smoothing_in_training_are_those_of_torch(tmp_path: Path) -> None:
    from sklearn.utils.class_weight import compute_class_weight

    given = records(12)[:7] + [ClassifyRecord("more good words", "good")] * 3
    model, objective, tokenizer = classifier(
        tmp_path, "encoder", given, weights="balanced", smoothing=0.1, dropout=0.0
    )
    names = [record.label for record in given]
    expected = compute_class_weight("balanced", classes=np.array(LABELS), y=np.array(names))
    assert objective.weights == pytest.approx(dict(zip(LABELS, expected, strict=True)))
    batch = batch_of(objective, given, tokenizer)
    model.train()
    logits = model(batch.ids, batch.mask).logits
    weight = torch.tensor(expected)[batch.targets].float()
    each = F.cross_entropy(logits, batch.targets, reduction="none", label_smoothing=0.1)
    torch.testing.assert_close(objective.loss(model, batch), (each * weight).sum())
    # What is looked at is neither weighted nor smoothed.
    held = batch_of(objective, given, tokenizer, validation=True)
    assert held.weights is None
    model.eval()
    logits = model(held.ids, held.mask).logits
    plain = F.cross_entropy(logits, held.targets, reduction="sum")
    torch.testing.assert_close(objective.loss(model, held), plain)


def test_balanced_weights_of_several_labels_are_those_of_bce(tmp_path: Path) -> None:
    sets = [("bad",), ("bad", "neither"), ("bad",), ("good", "neither")]
    given = [ClassifyRecord(r.text, s) for r, s in zip(records(4), sets, strict=True)]
    model, objective, tokenizer = classifier(
        tmp_path, "encoder", given, weights="balanced", dropout=0.0
    )
    batch = batch_of(objective, given, tokenizer)
    model.train()
    logits = model(batch.ids, batch.mask).logits
    ratio = torch.tensor([1 / 3, 3.0, 1.0])  # of those without the label to those with it
    expected = F.binary_cross_entropy_with_logits(
        logits, batch.scores, pos_weight=ratio, reduction="sum"
    )
    torch.testing.assert_close(objective.loss(model, batch), expected)


def test_micro_batches_add_up(tmp_path: Path) -> None:
    given = records(20)
    model, objective, tokenizer = classifier(tmp_path, "encoder", given, weights={"good": 3.0})
    model.eval().double()
    examples = objective.examples(given, tokenizer=tokenizer, length=24, seed=0)

    def gradient(micro: int | None) -> torch.Tensor:
        model.zero_grad()
        loader = Loader(examples, objective.collate, sequences=12, micro=micro, seed=0)
        for batch in loader.step(0):
            objective.loss(model, batch).backward()  # type: ignore[no-untyped-call]
        grads = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        return torch.cat(grads)

    whole = gradient(None)
    assert whole.norm() > 1e-3
    for micro in (1, 3):
        assert (gradient(micro) - whole).norm() <= 1e-10 * whole.norm()


def test_labels_stand_sorted_or_as_they_are_given(tmp_path: Path) -> None:
    given = records()
    model, objective, _ = classifier(tmp_path, "encoder", given)
    assert objective.labels == model.config.labels == LABELS
    again = Classify().fitted(given[::-1], model.config.with_changes(labels=LABELS[::-1]))
    assert again.labels == LABELS[::-1], "a classifier's own order is kept"
    mine = Classify(labels=("neither", "good", "bad")).fitted(given, model.config)
    assert mine.adapt(model.config, given).labels == ("neither", "good", "bad")
    with pytest.raises(ConfigError, match="lacks 'neither'"):
        Classify(labels=("good", "bad")).fitted(given, model.config)
    with pytest.raises(ConfigError, match=r"weights names 'god'.* Did you mean 'good'"):
        Classify(weights={"god": 2.0}).fitted(given, model.config)
    with pytest.raises(InputError, match="All records have the label 'bad'"):
        Classify().fitted(given[:1], model.config)
    with pytest.raises(InputError, match="'new' does not come in the training part"):
        objective.examples(
            [ClassifyRecord("a", "new")], tokenizer=word_tokenizer(), length=16, seed=0
        )


@pytest.mark.parametrize(
    "options", [{"smoothing": 1.0}, {"labels": ("a",)}, {"labels": ("a", "a")}, {"separator": ""},
                {"weights": {"a": 0.0}}]
)  # fmt: skip
def test_options_that_mean_nothing_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Classify(**options)


def test_names_of_labels_and_what_is_remembered(tmp_path: Path) -> None:
    from hanlin.training.sections import DataSettings

    path = tmp_path / "rows.tsv"
    path.write_text("".join(f"a film of number {n}\t{n % 2}\n" for n in range(8)))
    told: list[str] = []
    objective = Classify(names={"0": "negative", "1": "positive"})
    given = objective.read([str(path)], DataSettings(train=(str(path),)), tell=told.append)
    assert {record.label for record in given} == {"negative", "positive"}
    assert objective.remember(given) == {
        "labels": {"negative": 4, "positive": 4}, "several": False, "pairs": False}  # fmt: skip
    assert told[-1] == "Columns: text is 1, label is 2."


def test_a_text_that_no_token_spells_is_one_token() -> None:
    given = [ClassifyRecord("\u200b", "good"), ClassifyRecord("a", "bad")]
    tokenizer = byte_tokenizer()
    examples = Classify(labels=("bad", "good")).examples(
        given, tokenizer=tokenizer, length=16, seed=0
    )
    assert all(len(examples.example(n, 0).ids) >= 1 for n in range(2))
