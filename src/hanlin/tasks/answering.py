"""Answers from documents: passages are found, a model reads them, and the answer cites them.

    answerer = Answerer("handbook/", reader="runs/extractor")
    answerer.answer("When does the library open?").citations[0].file

Chen et al. 2017, "Reading Wikipedia to Answer Open-Domain Questions", with BM25 for their TF-IDF.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hanlin.errors import InputError
from hanlin.generation import Generation
from hanlin.tasks.encoder import Encoder
from hanlin.tasks.extractor import Extractor
from hanlin.tasks.language import LanguageModel
from hanlin.tasks.loading import load
from hanlin.tasks.model import Model, texts_of
from hanlin.tasks.retrieval.bm25 import Bm25
from hanlin.tasks.retrieval.passages import OVERLAP, SIZE, Passage, Source, read_passages
from hanlin.tasks.retrieval.vectors import Vectors, fuse
from hanlin.text.scripts import language

DEEP = 100
"""Passages of each ranking that are put together where there are two."""
NEW_TOKENS = 128
"""Tokens of a language model's answer, where nothing else is said."""

_ASK = {
    "en": "Answer the question from the passages alone, in a sentence or two. After what you say, "
    "name the passage it stands in by its number, such as [1]. If no passage answers it, say so."
    "\n\n{passages}\n\nQuestion: {question}",
    "zh": "只根据下面的段落回答问题，用一两句话。在所说的话后面用编号注明出处，如 [1]。"
    "如果段落中没有答案，请直接说明。\n\n{passages}\n\n问题：{question}",
}
_READERS = "an extractor or a language model"
_NAMED = re.compile(r"[\[［【](\d+)[\]］】]")


@dataclass(frozen=True)
class Citation:
    """A passage that was found, and what of it is the answer."""

    file: str
    document: int
    """Which document of the file, from 1."""
    start: int
    """The passage's first character in the document."""
    end: int
    text: str
    score: float
    """How well it was found: BM25, or the sum of reciprocal ranks."""
    answer_start: int | None = None
    """The first character of the answer in the document, where an extractor found it here."""
    answer_end: int | None = None


@dataclass(frozen=True)
class CitedAnswer:
    """What documents answer to a question."""

    question: str
    answer: str
    """Empty where nothing was found, or nothing reads what was found."""
    score: float | None
    """An extractor's probability of the answer in its passage."""
    citations: tuple[Citation, ...]
    """What the answer stands in, best first; without a reader every passage found."""
    passages: tuple[Citation, ...]
    """Every passage found, best first: what the reader read."""


class Answerer:
    """Finds passages for questions, and answers where it has a model that reads."""

    def __init__(
        self,
        documents: Source,
        *,
        reader: Model | str | Path | None = None,
        embedder: Model | str | Path | None = None,
        size: int = SIZE,
        overlap: int = OVERLAP,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> None:
        """Read and index documents: files, folders, globs, or a mapping of texts by name.

        reader: an extractor or a language model, loaded or by name; None: passages are all that is
        found. embedder: an encoder, whose ranking is put together with BM25's. size, overlap: words
        of a passage, and of what two of them share. progress: told what is done, how much of it,
        of how much. Raises `InputError` for a model of another kind, and what reading raises.
        """
        self.reader = _model(reader, (Extractor, LanguageModel), "reads passages", _READERS)
        encoder = _model(embedder, (Encoder,), "gives vectors", "an encoder such as minilm")
        self.passages: Sequence[Passage] = read_passages(documents, size=size, overlap=overlap)
        texts = [passage.text for passage in self.passages]

        def counting(what: str) -> Callable[[int], None] | None:
            done = 0

            def count(some: int) -> None:
                nonlocal done
                done += some
                if progress is not None:
                    progress(what, done, len(texts))

            return None if progress is None else count

        self.index = Bm25(texts, progress=counting("index"))
        self.vectors: Vectors | None = None
        if encoder is not None:
            assert isinstance(encoder, Encoder)
            self.vectors = Vectors(encoder, texts, progress=counting("embed"))

    def search(self, question: str, n: int = 3) -> list[Citation]:
        """The `n` best passages, best first; fewer where fewer have anything of the question.

        Raises `InputError` for a question that is empty or no text.
        """
        [question] = texts_of([question], what="question")
        if not question.strip():
            raise InputError("The question is empty. Ask something.")
        if n < 1:
            raise InputError(f"{n} passages are none. Ask for at least 1.")
        if self.vectors is None:
            ranking = self.index.search(question, n)
        else:
            both = (self.index.search(question, DEEP), self.vectors.search(question, DEEP))
            ranking = fuse([[number for number, _ in found] for found in both])[:n]
        return [_cited(self.passages[number], score) for number, score in ranking]

    def answer(self, question: str, n: int = 3, **sampling: Any) -> CitedAnswer:
        """The answer of the `n` best passages, with what it stands in.

        An extractor gives the span that is likeliest in its passage, weighed by the passage's share
        of the scores found. A language model writes, as its `sampling` says (the likeliest tokens
        where nothing is said), and cites by number; where it names no passage, all that it read
        are cited. Raises `InputError` for an empty question, and for settings of sampling where
        nothing writes.
        """
        if sampling and not isinstance(self.reader, LanguageModel):
            raise InputError(
                f"{', '.join(sampling)} would be ignored: only a language model writes. Leave it "
                "out, or give a language model as the reader."
            )
        found = self.search(question, n)
        if self.reader is None or not found:
            return CitedAnswer(question, "", None, tuple(found), tuple(found))
        if isinstance(self.reader, Extractor):
            return self._extracted(question, found, self.reader)
        assert isinstance(self.reader, LanguageModel)
        return self._written(question, found, self.reader, sampling)

    def _extracted(
        self, question: str, found: Sequence[Citation], reader: Extractor
    ) -> CitedAnswer:
        answers = reader([question] * len(found), [passage.text for passage in found])
        total = sum(passage.score for passage in found)
        weighed = [
            (answer.score * passage.score / total, -place)
            for place, (answer, passage) in enumerate(zip(answers, found, strict=True))
            if answer.text
        ]
        if not weighed:
            return CitedAnswer(question, "", None, (), tuple(found))
        place = -max(weighed)[1]
        answer, passage = answers[place], found[place]
        citation = replace(
            passage,
            answer_start=passage.start + answer.start,
            answer_end=passage.start + answer.end,
        )
        return CitedAnswer(question, answer.text, answer.score, (citation,), tuple(found))

    def _written(
        self,
        question: str,
        found: Sequence[Citation],
        reader: LanguageModel,
        sampling: dict[str, Any],
    ) -> CitedAnswer:
        settings = {"max_new_tokens": NEW_TOKENS, "temperature": 0, **sampling}
        for number in range(len(found), 0, -1):
            read = found[:number]
            prompt = prompt_of(question, [passage.text for passage in read])
            ids = _encoded(reader, prompt)
            if reader.context is None or len(ids) + settings["max_new_tokens"] <= reader.context:
                break
        else:
            raise InputError(
                f"{reader.name} reads {reader.context} tokens, which has no room for one passage "
                "and an answer. Take another reader, or smaller passages."
            )
        text = _generated(reader, prompt, settings).text.strip()
        numbers = [int(digits) for digits in _NAMED.findall(text)]
        named = [read[at - 1] for at in dict.fromkeys(numbers) if 1 <= at <= len(read)]
        return CitedAnswer(question, text, None, tuple(named or read), tuple(read))


def prompt_of(question: str, passages: Sequence[str]) -> str:
    """What a language model is asked: in Chinese where the question is Chinese."""
    shown = "\n\n".join(f"[{number}] {text}" for number, text in enumerate(passages, 1))
    ask = _ASK["zh" if language(question) == "zh" else "en"]
    # Not by str.format: passages may hold braces.
    return ask.replace("{question}", question.strip()).replace("{passages}", shown)


def _encoded(reader: LanguageModel, prompt: str) -> list[int]:
    if reader.tokenizer.chat_template is not None:
        return reader.encode_chat(prompt)
    return reader.tokenizer.encode(prompt)


def _generated(reader: LanguageModel, prompt: str, settings: dict[str, Any]) -> Generation:
    if reader.tokenizer.chat_template is not None:
        return reader.chat(prompt, **settings)
    [written] = reader.generate(f"{prompt}\n", **settings)
    return written


def _cited(passage: Passage, score: float) -> Citation:
    return Citation(passage.file, passage.document, passage.start, passage.end, passage.text, score)


def _model(
    ref: Model | str | Path | None, kinds: tuple[type[Model], ...], does: str, example: str
) -> Model | None:
    """A model of one of the kinds, loaded where it is named."""
    if ref is None:
        return None
    model = ref if isinstance(ref, Model) else load(ref)
    if not isinstance(model, kinds):
        raise InputError(f"{model.name} is {model.kind}; what {does} must be {example}. Give one.")
    return model
