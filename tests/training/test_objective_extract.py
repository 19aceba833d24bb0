"""Span extraction: the loss is transformers', targets point at the answer, windows share a text."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hanlin.data.squad import Gold, Question
from hanlin.errors import ConfigError
from hanlin.models import load as load_network
from hanlin.models.new import new_config
from hanlin.models.transformer import Transformer
from hanlin.tokenizers import Tokenizer
from hanlin.training.objectives import OBJECTIVES
from hanlin.training.objectives.extract import Extract
from hanlin.training.span_scores import fit_threshold
from tiny_models import CORPUS, save_encoder, word_tokenizer

CONTEXT = " ".join(CORPUS[:5])


def question(text: str, *, asked: str = "What is it?", context: str = CONTEXT) -> Question:
    return Question(asked, context, (Gold(text, context.index(text)),) if text else ())


RECORDS = [question("the words"), question("主持考试", asked="他们做什么？"), question("")]


def examples(records: list[Question], tokenizer: Tokenizer, *, length: int = 400, **options: Any):
    return Extract(**options).examples(records, tokenizer=tokenizer, length=length, seed=0)


def batch_of(records: list[Question], tokenizer: Tokenizer, **settings: Any):
    made = examples(records, tokenizer, **settings)
    return Extract().collate([made.example(i, 0) for i in range(len(made))])


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("extract") / "model"
    return save_encoder(place, head="extract", max_context=512)


def test_it_is_an_objective() -> None:
    assert OBJECTIVES["extract"] is Extract


def test_the_loss_is_that_of_transformers(directory: Path) -> None:
    library = pytest.importorskip("transformers")
    network, tokenizer = load_network(directory, dtype="float32"), Tokenizer.load(directory)
    theirs = library.BertForQuestionAnswering.from_pretrained(directory).eval()
    for record in RECORDS:
        batch = batch_of([record], tokenizer)
        assert batch.token_types is not None
        assert batch.token_types.max() == 1
        want = theirs(
            input_ids=batch.ids,
            token_type_ids=batch.token_types,
            start_positions=batch.targets[:, 0],
            end_positions=batch.targets[:, 1],
        ).loss
        got = Extract().loss(network, batch)
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


def test_micro_batches_add_up_whatever_the_padding(directory: Path) -> None:
    network, tokenizer = load_network(directory, dtype="float32"), Tokenizer.load(directory)
    short = question("Numbers", context=CORPUS[4])
    together = batch_of([*RECORDS, short], tokenizer)
    assert together.mask is not None
    assert together.target_tokens == 4
    losses: list[Tensor] = [
        Extract().loss(network, batch_of([record], tokenizer)) for record in [*RECORDS, short]
    ]
    torch.testing.assert_close(Extract().loss(network, together), sum(losses), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["wordpiece"])
@pytest.mark.parametrize(("length", "stride"), [(400, 0), (64, 0), (64, 16), (48, 10)])
def test_targets_point_at_the_answer_in_every_window_that_holds_it(
    kind: str, length: int, stride: int
) -> None:
    tokenizer = word_tokenizer()
    for answer in ("academy", "the words", "什么是词元", "你好", "3, 14", "😀."):
        made = examples([question(answer)], tokenizer, length=length, stride=stride)
        held = 0
        for index in range(len(made)):
            example = made.example(index, 0)
            first, last = example.target
            if (first, last) == (0, 0):
                continue
            held += 1
            bare = tokenizer.encode(answer, add_special_tokens=False)
            inside = example.ids[first : last + 1].tolist()
            assert inside == bare, answer
            assert set(example.types[first : last + 1].tolist()) == {1}
        assert held >= 1
    none = examples([question("")], tokenizer, length=length, stride=stride)
    assert all(none.example(i, 0).target == (0, 0) for i in range(len(none)))


def test_an_answer_inside_a_token_takes_the_whole_token() -> None:
    tokenizer = word_tokenizer()
    context = "The academy drafted it."
    at = context.index("cadem")
    record = Question("What?", context, (Gold("cadem", at),))
    made = examples([record], tokenizer)
    example = made.example(0, 0)
    first, last = example.target
    assert "cadem" in tokenizer.decode(example.ids[first : last + 1].tolist())
    assert first > 0


def test_long_texts_are_told() -> None:
    made = examples(RECORDS, word_tokenizer(), length=64, stride=16)
    assert len(made) > 3
    assert "3 of 3 questions and their texts are longer than 64 tokens" in made.notes[0]
    assert str(len(made)) in made.notes[0]


@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert", "distilbert"])
def test_every_family_gets_a_head_that_it_can_save(family: str) -> None:
    tokenizer = word_tokenizer()
    config = new_config(
        family, tokenizer=tokenizer, hidden_size=32, num_layers=1, num_heads=2,
        intermediate_size=48, max_context=256,
    )  # fmt: skip
    adapted = Extract().adapt(config, RECORDS)
    assert adapted.head == "extract"
    loss = Extract().loss(Transformer(adapted), batch_of(RECORDS, tokenizer, length=200))
    assert np.isfinite(loss.item())


def test_options_are_checked() -> None:
    with pytest.raises(ConfigError, match="stride"):
        Extract(stride=-1)
    with pytest.raises(ConfigError, match="max_answer"):
        Extract(max_answer=0)


def test_what_is_remembered_is_plain() -> None:
    assert Extract(stride=7).remember(RECORDS) == {
        "stride": 7, "max_answer": 48, "unanswerable": True,
    }  # fmt: skip
    assert not Extract().remember(RECORDS[:2])["unanswerable"]


def test_a_threshold_is_fitted_where_some_questions_have_no_answer(directory: Path) -> None:
    network, tokenizer = load_network(directory, dtype="float32"), Tokenizer.load(directory)
    settings = {"stride": 16, "max_answer": 8}
    found = fit_threshold(network, tokenizer, RECORDS * 2, **settings)
    assert found is not None
    assert found.questions == 6
    assert found.f1_after >= max(found.f1_before, 2 / 6)
    assert fit_threshold(network, tokenizer, RECORDS[:2], **settings) is None
