"""Extractors: the answers of transformers' postprocessing, the same in any batch, windows, none."""

import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import hanlin
from hanlin.errors import ConfigError, InputError
from hanlin.tasks import Answer, Extractor
from tiny_models import CORPUS, save_encoder

CONTEXTS = [*CORPUS[:5], " ".join(CORPUS[:5]), " ".join(CORPUS[:5] * 3)]
QUESTIONS = ["What is a token?", "什么是词元？", "Who drafted the words?"]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("extractor") / "model"
    return save_encoder(place, head="extract", max_context=128, initializer_range=0.6)


def loaded(directory: Path, **task: Any) -> Extractor:
    told = {"task": {"name": "extract", **task}} if task else {}
    (directory / "hanlin.json").write_text(json.dumps(told))
    model = hanlin.load(directory)
    assert isinstance(model, Extractor)
    return model


def postprocessed(
    directory: Path, question: str, context: str, *, stride: int, max_answer: int
) -> tuple[list[tuple[str, int, int, float]], float]:
    """The n best and the score of no answer, as the run_qa example of transformers finds them:
    window by window, every start with every end."""
    library = pytest.importorskip("transformers")
    tokenizer = library.PreTrainedTokenizerFast(tokenizer_file=str(directory / "tokenizer.json"))
    model = library.BertForQuestionAnswering.from_pretrained(directory).eval()
    features = tokenizer(
        question, context, truncation="only_second", max_length=128, stride=stride,
        return_overflowing_tokens=True, return_offsets_mapping=True, return_token_type_ids=True,
    )  # fmt: skip
    found: dict[tuple[int, int], float] = {}
    none = math.inf
    for number in range(len(features["input_ids"])):
        with torch.no_grad():
            output = model(
                torch.tensor([features["input_ids"][number]]),
                token_type_ids=torch.tensor([features["token_type_ids"][number]]),
            )
        starts, ends = output.start_logits[0].tolist(), output.end_logits[0].tolist()
        offsets, owners = features["offset_mapping"][number], features.sequence_ids(number)
        none = min(none, starts[0] + ends[0])
        for first in range(len(starts)):
            for last in range(len(ends)):
                if owners[first] != 1 or owners[last] != 1:
                    continue
                if last < first or last - first + 1 > max_answer:
                    continue
                place = offsets[first][0], offsets[last][1]
                score = starts[first] + ends[last]
                found[place] = max(score, found.get(place, -math.inf))
    ranked = sorted(found.items(), key=lambda item: -item[1])
    return [(context[a:b], a, b, score) for (a, b), score in ranked], none


@pytest.mark.parametrize(("stride", "max_answer"), [(20, 6), (0, 30), (40, 3)])
def test_answers_are_those_of_transformers(directory: Path, stride: int, max_answer: int) -> None:
    model = loaded(directory, stride=stride, max_answer=max_answer)
    for question in QUESTIONS:
        for context in CONTEXTS[-3:]:
            want, none = postprocessed(
                directory, question, context, stride=stride, max_answer=max_answer
            )
            [got] = model.best([question], [context], n=5)
            assert [(a.text, a.start, a.end) for a in got] == [w[:3] for w in want[:5]]
            np.testing.assert_allclose(
                [a.margin for a in got], [w[3] - none for w in want[:5]], atol=1e-4
            )
            scores = np.array([w[3] for w in want])
            share = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
            np.testing.assert_allclose([a.score for a in got], share[:5], atol=1e-4)


def test_answers_do_not_depend_on_the_rest_of_the_batch(directory: Path) -> None:
    model = loaded(directory)
    seed = random.randrange(2**32)
    pairs = [(q, c) for q in QUESTIONS for c in CONTEXTS]
    random.Random(seed).shuffle(pairs)
    together = model([q for q, _ in pairs], [c for _, c in pairs])
    for (question, context), want in zip(pairs, together, strict=True):
        got = model(question, context)
        assert (got.text, got.start, got.end) == (want.text, want.start, want.end), seed
        assert got.score == pytest.approx(want.score, abs=1e-5), seed
        assert context[got.start : got.end] == got.text


def test_no_answer_is_given_below_the_threshold(directory: Path) -> None:
    plain = loaded(directory)
    [best] = plain.best("What?", CORPUS[0], n=1)[0:1]
    margin = best[0].margin
    for threshold, answers in ((margin - 0.1, True), (margin + 0.1, False)):
        model = loaded(directory, unanswerable=True, threshold=threshold)
        answer = model("What?", CORPUS[0])
        assert bool(answer.text) == answers
        assert answer.margin == pytest.approx(margin, abs=1e-4)
        if not answers:
            assert (answer.start, answer.end) == (None, None)
    # With no answer among them, the shares of all spans and of none are one.
    every = model.best("What?", CORPUS[0], n=10**6, max_answer=1000)[0]
    assert sum(a.score for a in every) + answer.score == pytest.approx(1, abs=1e-2)
    assert sum(a.score for a in every) < 1


def test_texts_without_words_and_questions_without_any(directory: Path) -> None:
    model = loaded(directory)
    assert model("What?", "  ") == Answer("", None, None, 1.0, -math.inf)
    with pytest.raises(InputError, match="Question number 2 is empty"):
        model(["a", " "], ["a", "b"])
    with pytest.raises(InputError, match="2 questions and 1 texts"):
        model(["a", "b"], ["c"])
    with pytest.raises(ConfigError, match="max_answer"):
        model("a", "b", max_answer=0)
    with pytest.raises(InputError, match="cannot generate"):
        model.generate("x")


def test_answers_are_as_long_as_they_may_be(directory: Path) -> None:
    model = loaded(directory)
    for longest in (1, 2, 5):
        for answer in model.best("What?", CONTEXTS[-1], n=20, max_answer=longest)[0]:
            size = len(model.tokenizer.encode(answer.text, add_special_tokens=False))
            assert size <= longest
