"""Answers over documents: passages found, read by an extractor or a language model, cited."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hanlin
from hanlin.errors import InputError
from hanlin.generation import Generation
from hanlin.tasks import Answer, Answerer, Encoder, Extractor, LanguageModel
from hanlin.tasks.answering import prompt_of
from hanlin.tasks.retrieval import Vectors
from tiny_models import save_decoder, save_encoder

DOCUMENTS = {
    "hours.txt": "Opening.\n\nThe library opens at nine. On Sunday it stays closed.",
    "fees.txt": "A card costs ten francs a year. Students pay nothing at all.",
    "规则.txt": "图书馆每天九点开门。\n\n学生不用付费。",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("answering")


@pytest.fixture(scope="module")
def extractor(place: Path) -> Path:
    return save_encoder(place / "extractor", head="extract", initializer_range=0.6)


def test_without_a_reader_passages_are_found() -> None:
    found = Answerer(DOCUMENTS).answer("When does the library open on Sunday?", n=2)
    assert (found.answer, found.score) == ("", None)
    assert found.citations == found.passages
    assert found.citations[0].file == "hours.txt"
    best = found.citations[0]
    assert DOCUMENTS[best.file][best.start : best.end] == best.text
    assert Answerer(DOCUMENTS).answer("学生付费吗？").citations[0].file == "规则.txt"


def test_a_question_about_nothing_there_finds_nothing() -> None:
    found = Answerer(DOCUMENTS).answer("xyzzy")
    assert found.citations == found.passages == ()


def test_an_extractor_cites_the_place_of_its_answer(extractor: Path) -> None:
    answerer = Answerer(DOCUMENTS, reader=extractor)
    found = answerer.answer("When does the library open?", n=3)
    [citation] = found.citations
    assert citation.answer_start is not None
    assert found.answer
    text = DOCUMENTS[citation.file]
    assert text[citation.answer_start : citation.answer_end] == found.answer
    assert citation.start <= citation.answer_start < citation.answer_end <= citation.end
    assert found.score is not None
    assert 0 < found.score <= 1


class Reader(Extractor):
    """An extractor that is told what to find."""

    kind = "an extractor"

    def __init__(self, answers: dict[str, tuple[str, float]]) -> None:
        self.answers, self.name = answers, "reader"

    def __call__(self, question: Any, context: Any, **settings: Any) -> Any:
        found = []
        for text in context:
            wanted, score = next((v for k, v in self.answers.items() if k in text), ("", 0.9))
            at = text.index(wanted) if wanted else None
            end = None if at is None else at + len(wanted)
            found.append(Answer(wanted, at, end, score, 0.0))
        return found


def test_the_best_answer_counts_the_passage_too() -> None:
    reader = Reader({"opens at nine": ("nine", 0.5), "costs": ("ten francs", 0.6)})
    answerer = Answerer(DOCUMENTS, reader=reader)
    found = answerer.answer("When does the library open? a card?", n=3)
    scores = {c.file: c.score for c in found.passages}
    assert set(scores) >= {"hours.txt", "fees.txt"}
    likelier = "nine" if 0.5 * scores["hours.txt"] > 0.6 * scores["fees.txt"] else "ten francs"
    assert found.answer == likelier
    nothing = Answerer(DOCUMENTS, reader=Reader({})).answer("library")
    assert (nothing.answer, nothing.score, nothing.citations) == ("", None, ())
    assert nothing.passages


class Writer(LanguageModel):
    """A language model that writes what it is told, and keeps what it was asked."""

    def __init__(self, model: LanguageModel, text: str, *, context: int = 4096) -> None:
        super().__init__(model.network, model.tokenizer, name="writer", defaults=None)
        self.text, self.room, self.asked = text, context, []

    @property
    def context(self) -> int | None:
        return self.room

    def chat(self, messages: Any, **sampling: Any) -> Generation:
        self.asked.append((messages, sampling))
        return Generation(self.text, (), "stop", prompt_tokens=0)


@pytest.fixture(scope="module")
def decoder(place: Path) -> LanguageModel:
    model = hanlin.load(save_decoder(place / "llama", max_context=512))
    assert isinstance(model, LanguageModel)
    return model


def test_a_language_model_cites_by_number(decoder: LanguageModel) -> None:
    writer = Writer(decoder, "At nine [2], see also 【2】 and [9].")
    found = Answerer(DOCUMENTS, reader=writer).answer("When does the library open a card?", n=2)
    assert found.answer == "At nine [2], see also 【2】 and [9]."
    assert found.citations == (found.passages[1],)
    [(prompt, sampling)] = writer.asked
    assert f"[1] {found.passages[0].text}" in prompt
    assert sampling == {"max_new_tokens": 128, "temperature": 0}
    silent = Writer(decoder, "At nine.")
    told = Answerer(DOCUMENTS, reader=silent).answer("When does the library open?", 2, seed=3)
    assert told.citations == told.passages
    assert silent.asked[0][1]["seed"] == 3


def test_passages_that_do_not_fit_are_left_out(decoder: LanguageModel) -> None:
    writer = Writer(decoder, "x", context=1000)
    many = {f"{n}.txt": f"The library opens at {n}. " * 20 for n in range(8)}
    found = Answerer(many, reader=writer).answer("When does the library open?", n=8)
    assert 1 <= len(found.passages) < 8
    assert f"[{len(found.passages)}] " in writer.asked[0][0]
    with pytest.raises(InputError, match="no room for one passage"):
        Answerer(many, reader=writer).answer("library?", max_new_tokens=950)


def test_it_writes_with_and_without_a_chat_template(place: Path) -> None:
    for chat in (True, False):
        reader = save_decoder(place / f"lm{chat}", chat=chat, max_context=1024)
        found = Answerer(DOCUMENTS, reader=reader).answer("library?", 1, max_new_tokens=5)
        again = Answerer(DOCUMENTS, reader=reader).answer("library?", 1, max_new_tokens=5)
        assert found == again


def test_the_prompt_is_in_the_language_of_the_question() -> None:
    english = prompt_of("When {passages}?", ["a {question} b"])
    assert english.startswith("Answer the question")
    assert "[1] a {question} b" in english
    chinese = prompt_of("什么时候开门？", ["甲", "乙"])
    assert chinese.startswith("只根据")
    assert "[2] 乙" in chinese


def test_vectors_help_to_find(place: Path) -> None:
    encoder = hanlin.load(save_encoder(place / "encoder"))
    assert isinstance(encoder, Encoder)
    texts = ["alpha beta", "图书馆", "The library opens"]
    vectors = Vectors(encoder, texts)
    embedded = encoder.embed([*texts, "library?"])
    embedded = embedded / np.linalg.norm(embedded, axis=1, keepdims=True)
    want = embedded[:3] @ embedded[3]
    found = vectors.search("library?", 3)
    assert [at for at, _ in found] == np.argsort(-want, kind="stable").tolist()
    np.testing.assert_allclose([s for _, s in found], np.sort(want)[::-1], atol=1e-5)
    answerer = Answerer(DOCUMENTS, embedder=encoder)
    # Words find nothing of this; vectors rank every passage.
    assert len(answerer.answer("xyzzy", n=2).citations) == 2


def test_models_of_another_kind_are_refused(extractor: Path, place: Path) -> None:
    with pytest.raises(InputError, match="reads passages"):
        Answerer(DOCUMENTS, reader=save_encoder(place / "plain"))
    with pytest.raises(InputError, match="gives vectors"):
        Answerer(DOCUMENTS, embedder=extractor)
    answerer = Answerer(DOCUMENTS, reader=extractor)
    with pytest.raises(InputError, match="only a language model writes"):
        answerer.answer("a", temperature=1)
    with pytest.raises(InputError, match="question is empty"):
        answerer.answer(" ")
    with pytest.raises(InputError, match="at least 1"):
        answerer.answer("a", n=0)
