"""Tagging: the loss is transformers', on the pieces it should stand on, in windows or not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hanlin.data.batch import IGNORE
from hanlin.data.conll import TaggedText, tagged
from hanlin.errors import ConfigError, FormatError, InputError
from hanlin.models import load as load_network
from hanlin.models.new import new_config
from hanlin.models.transformer import Transformer
from hanlin.tokenizers import Tokenizer
from hanlin.training.objectives import OBJECTIVES
from hanlin.training.objectives.tag import Tag
from tiny_models import CORPUS, byte_tokenizer, save_encoder, word_tokenizer

RECORDS = [
    tagged(["The", "academy", "of", "partother", "drafted"], ["O", "B-ORG", "I-ORG", "I-ORG", "O"]),
    tagged(["翰", "林", "院", "在", "京城"], ["B-ORG", "I-ORG", "I-ORG", "O", "B-LOC"]),
    tagged(["Numbers"], ["O"]),
]
LABELS = ("O", "B-LOC", "B-ORG", "I-ORG")


def examples(records: list[TaggedText], tokenizer: Tokenizer, *, length: int = 64, **options: Any):
    return Tag(labels=LABELS, **options).examples(
        records, tokenizer=tokenizer, length=length, seed=0
    )


def test_it_is_an_objective() -> None:
    assert OBJECTIVES["tag"] is Tag


@pytest.mark.parametrize("all_pieces", [False, True])
def test_the_loss_is_that_of_transformers(tmp_path: Path, all_pieces: bool) -> None:
    library = pytest.importorskip("transformers")
    directory = save_encoder(tmp_path / "tagger", head="tag", labels=LABELS)
    network, tokenizer = load_network(directory, dtype="float32"), Tokenizer.load(directory)
    theirs = library.BertForTokenClassification.from_pretrained(directory).eval()
    made = examples(RECORDS, tokenizer, all_pieces=all_pieces)
    objective = Tag(labels=LABELS, all_pieces=all_pieces)
    batch = objective.collate([made.example(i, 0) for i in range(len(made))])
    mask = torch.ones_like(batch.ids) if batch.mask is None else batch.mask.long()
    want = theirs(input_ids=batch.ids, attention_mask=mask, labels=batch.targets).loss
    assert batch.target_tokens == int((batch.targets != IGNORE).sum())
    got = objective.loss(network, batch)
    torch.testing.assert_close(got, want * batch.target_tokens, rtol=1e-5, atol=1e-5)


def test_it_stands_on_the_first_piece_or_on_all() -> None:
    tokenizer = word_tokenizer()
    encoding = tokenizer.backend.encode(RECORDS[0].text)
    words = [
        w if o != (0, 0) else None for w, o in zip(encoding.word_ids, encoding.offsets, strict=True)
    ]
    first = [w is not None and w not in words[:at] for at, w in enumerate(words)]
    assert first.count(True) == 5
    assert len(words) > 8, "a word is cut into several pieces"
    numbers = [LABELS.index(tag) for tag in RECORDS[0].tags]
    [one] = [examples(RECORDS[:1], tokenizer).example(0, 0)]
    assert one.ids.tolist() == encoding.ids
    assert one.targets.tolist() == [
        numbers[w] if f and w is not None else IGNORE for w, f in zip(words, first, strict=True)
    ]
    [every] = [examples(RECORDS[:1], tokenizer, all_pieces=True).example(0, 0)]
    inside = {LABELS.index("B-ORG"): LABELS.index("I-ORG")}
    assert every.targets.tolist() == [
        IGNORE if w is None else numbers[w] if f else inside.get(numbers[w], numbers[w])
        for w, f in zip(words, first, strict=True)
    ]


def test_each_word_is_asked_for_once_however_long_the_text() -> None:
    tokenizer = word_tokenizer()
    words = " ".join(CORPUS).split()
    record = tagged(words, ["O"] * len(words))
    made = examples([record], tokenizer, length=48)
    assert len(made) > 5
    assert all(len(made.example(i, 0).ids) <= 48 for i in range(len(made)))
    asked = sum(int((made.example(i, 0).targets != IGNORE).sum()) for i in range(len(made)))
    assert asked == len(words)
    assert "1 of 1 texts are longer than 48 tokens" in made.notes[-1]
    assert made.lengths.tolist() == [len(made.example(i, 0).ids) for i in range(len(made))]


def test_words_that_the_tokenizer_drops_are_told() -> None:
    record = tagged(["a", "\u200b\u200b", "b"], ["O", "B-LOC", "O"])
    made = examples([record], word_tokenizer())
    targets = made.example(0, 0).targets
    assert (targets != IGNORE).sum() == 2
    assert "1 words have no token of their own" in made.notes[0]


def test_byte_level_tokens_find_their_words() -> None:
    record = tagged(["Numbers", "你好", "😀", "text"], ["O", "B-LOC", "B-ORG", "I-ORG"])
    tokenizer = byte_tokenizer(chat=False)
    targets = examples([record], tokenizer).example(0, 0).targets
    assert targets[targets != IGNORE].tolist() == [0, 1, 2, 3]


def test_micro_batches_add_up(tmp_path: Path) -> None:
    directory = save_encoder(tmp_path / "tagger", head="tag", labels=LABELS)
    network, tokenizer = load_network(directory, dtype="float32"), Tokenizer.load(directory)
    made, objective = examples(RECORDS, tokenizer), Tag(labels=LABELS)
    single = [objective.collate([made.example(i, 0)]) for i in range(len(made))]
    together = objective.collate([made.example(i, 0) for i in range(len(made))])
    want = sum(objective.loss(network, batch) for batch in single)
    torch.testing.assert_close(objective.loss(network, together), want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert", "distilbert", "llama", "gpt2"])
def test_every_family_gets_a_head_that_it_can_save(family: str) -> None:
    tokenizer = word_tokenizer()
    config = new_config(
        family, tokenizer=tokenizer, hidden_size=32, num_layers=1, num_heads=2,
        intermediate_size=48, max_context=64,
    )  # fmt: skip
    adapted = Tag().fitted(RECORDS, config).adapt(config, RECORDS)
    assert adapted.head == "tag"
    assert adapted.labels == LABELS
    batch = Tag(labels=LABELS).collate([examples(RECORDS, tokenizer).example(0, 0)])
    loss = Tag(labels=LABELS).loss(Transformer(adapted), batch)
    assert np.isfinite(loss.item())


def test_a_family_without_taggers_says_so() -> None:
    config = new_config("gemma3_text", tokenizer=word_tokenizer(), hidden_size=32, num_layers=1,
                        num_heads=2, intermediate_size=48, max_context=64)  # fmt: skip
    with pytest.raises((FormatError, ConfigError), match="tag"):
        Tag().adapt(config, RECORDS)


def test_labels_are_kept_from_a_model_that_tags_already(tmp_path: Path) -> None:
    own = ("B-LOC", "I-ORG", "B-ORG", "I-LOC", "O")
    network = load_network(save_encoder(tmp_path / "t", head="tag", labels=own), dtype="float32")
    fitted = Tag().fitted(RECORDS, network.config)
    assert fitted.labels == own
    assert fitted.adapt(network.config, RECORDS) == network.config
    assert Tag().fitted(RECORDS, network.config.with_changes(labels=("O", "X"))).labels == LABELS


def test_a_tag_that_was_not_learnt_is_refused() -> None:
    with pytest.raises(InputError, match=r"'B-NEW'.*O, B-LOC"):
        examples([tagged(["a"], ["B-NEW"])], word_tokenizer())


def test_what_is_remembered_is_plain() -> None:
    told = Tag().remember(RECORDS)
    assert told == {"texts": 3, "words": {"B-LOC": 1, "B-ORG": 2, "I-ORG": 4, "O": 4}}
