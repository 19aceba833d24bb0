"""Questions whose answers stand in a text: SQuAD's JSON, CMRC's, and rows of tables.

SQuAD 1.1 and 2.0 (Rajpurkar et al. 2016, 2018); CMRC 2018 (Cui et al. 2019) in SQuAD's layout or in
its own (`context_text`, `query_text`); rows of question, context, answers and answer_start.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hanlin.data.columns import check_columns, check_roles, shared_columns, tell_columns
from hanlin.data.records import BadRowError, collect, text_in
from hanlin.errors import FormatError
from hanlin.text.compression import decompressed
from hanlin.text.encodings import Decoder
from hanlin.text.sources import SourceFile, find
from hanlin.text.tables import BadRow, Row, read_rows

ROLES: dict[str, tuple[str, ...]] = {
    "question": ("question", "query", "问题"),
    "context": (
        "context",
        "passage",
        "paragraph",
        "document",
        "text",
        "context_text",
        "原文",
        "段落",
    ),
    "answers": ("answers", "answer", "答案"),
    "answer_start": ("answer_start", "start", "开始位置"),
}
"""What a row of a table has, and what its columns are usually called."""


@dataclass(frozen=True)
class Gold:
    """One right answer."""

    text: str
    start: int | None
    """Its first character in the context; None where its text does not occur there."""

    @property
    def end(self) -> int | None:
        """The character after its last."""
        return None if self.start is None else self.start + len(self.text)


@dataclass(frozen=True)
class Question:
    """A question, the text that answers it or not, and its right answers."""

    question: str
    context: str
    answers: tuple[Gold, ...]
    """None where the text does not answer it."""
    id: str = ""
    title: str = ""
    """Of the article that the context is from, where the data say it."""
    moved: int = 0
    """How many of its answers were not where the data said, and were found elsewhere."""

    @property
    def group(self) -> str:
        """What the context is part of: its article, else itself. Questions of one group stand on
        one side of a split, or the other part asks about texts that were learnt."""
        return self.title or self.context

    @property
    def texts(self) -> tuple[str, str]:
        """What is text in it."""
        return self.question, self.context

    @property
    def target(self) -> Gold | None:
        """The answer that is learnt: the first whose place is known; None: no answer."""
        return next((answer for answer in self.answers if answer.start is not None), None)


def read_questions(
    sources: Sequence[str],
    *,
    columns: Mapping[str, str] | None = None,
    skip_bad: bool = False,
    tell: Callable[[str], None],
) -> list[Question]:
    """The questions of files of any of the layouts.

    An answer that is not at its stated place is searched for in the context, and the nearest place
    taken; a question with answers of which none occurs in its context is a bad row. columns: of
    tables, by the roles in `ROLES`. Raises `ConfigError` for a column that no row has,
    `FormatError` for a file that is not whole, `InputError` for rows that cannot be used.
    """
    given = dict(columns or {})
    rows, tables = _rows(sources, given, tell)
    if len(tables) == len(rows):
        tell_columns(_columns(tables, given), given, tell)
    found = collect(rows, lambda row: _question(row, given), skip_bad=skip_bad, tell=tell)
    if moved := sum(question.moved for question in found):
        tell(f"{moved} answers were not at their stated place and were found elsewhere.")
    if lost := sum(answer.start is None for q in found for answer in q.answers):
        tell(
            f"{lost} further answers do not occur in their context; their questions have others "
            "that do."
        )
    return found


def columns_of(sources: Sequence[str], *, columns: Mapping[str, str]) -> dict[str, str]:
    """Which column of tables plays which part, as `read_questions` finds them; nothing of SQuAD's
    or CMRC's layout, which has its own."""
    rows, tables = _rows(sources, columns, lambda text: None)
    return _columns(tables, columns) if len(tables) == len(rows) else {}


def _rows(
    sources: Sequence[str], given: Mapping[str, str], tell: Callable[[str], None]
) -> tuple[list[Row | BadRow], list[Row | BadRow]]:
    """All rows, and those of tables; raises `ConfigError` for a column that none has."""
    check_roles(given, ROLES)
    # Columns that are named are in a first row of names.
    header = True if any(not name.isdigit() for name in given.values()) else None
    rows: list[Row | BadRow] = []
    tables: list[Row | BadRow] = []
    for file in find(sources).files:
        nested = _articles(file) if file.format == "json" else None
        if nested is None:
            tables += (own := list(read_rows(str(file.path), header=header, tell=tell)))
        else:
            own = list(nested)
        rows += own
    good = [row for row in rows if isinstance(row, Row)]
    if good:
        check_columns(given, dict.fromkeys(name for row in good for name in row.values))
    return rows, tables


def _columns(rows: Sequence[Row | BadRow], given: Mapping[str, str]) -> dict[str, str]:
    """What was given, and the other parts that one column plays in every row."""

    def plays(row: Row) -> dict[str, str]:
        names = {role: _name(row.values, role, {}) for role in ("question", "context", "answers")}
        return {role: name for role, name in names.items() if name is not None}

    found = shared_columns(plays(row) for row in rows if isinstance(row, Row))
    return {**found, **given}


def locate(text: str, context: str, start: int | None = None) -> int | None:
    """Where `text` stands in `context`: at `start`, else at the place nearest to it (the first
    where none is stated), else None."""
    if not text:
        return None
    if start is not None and start >= 0 and context.startswith(text, start):
        return start
    places = []
    at = context.find(text)
    while at >= 0:
        places.append(at)
        at = context.find(text, at + 1)
    if not places:
        return None
    if start is None or start < 0:
        return places[0]
    return min(places, key=lambda place: abs(place - start))


def _question(row: Row, given: Mapping[str, str]) -> Question:
    values = row.values
    question, context = (_text(row, role, given) for role in ("question", "context"))
    texts, starts = _stated(values, given)
    number = values.get("id")
    made = Question(
        question,
        context,
        (),
        id=f"{row.file}:{row.number}" if number is None else str(number),
        title=str(values.get("title") or ""),
    )
    if values.get("is_impossible") is True or not texts:
        return made
    answers: list[Gold] = []
    moved = 0
    for text, start in zip(texts, starts, strict=True):
        kept = text if locate(text, context, start) is not None else text.strip()
        place = locate(kept, context, start)
        moved += place is not None and start is not None and place != start
        answers.append(Gold(kept, place))
    if all(answer.start is None for answer in answers):
        raise BadRowError(f"its answer {texts[0][:60]!r} does not occur in its context.")
    return replace(made, answers=tuple(answers), moved=moved)


def _text(row: Row, role: str, given: Mapping[str, str]) -> str:
    column = _name(row.values, role, given)
    if column is None:
        raise BadRowError(f"it has no {role}; there are {', '.join(row.values) or 'no columns'}.")
    return text_in(row, column)


def _name(values: Mapping[str, Any], role: str, given: Mapping[str, str]) -> str | None:
    """The column that plays a role; None where there is none."""
    if role not in given:
        return next((name for name in ROLES[role] if name in values), None)
    if given[role] not in values:
        raise BadRowError(
            f"there is no column {given[role]!r} ({role}); there are: {', '.join(values)}."
        )
    return given[role]


def _stated(
    values: Mapping[str, Any], given: Mapping[str, str]
) -> tuple[list[str], list[int | None]]:
    """The answers of a row and where it says they begin, whichever way it writes them."""
    answers, starts = (
        None if (name := _name(values, role, given)) is None else values[name]
        for role in ("answers", "answer_start")
    )
    if isinstance(answers, Mapping):  # {"text": [...], "answer_start": [...]}
        starts, answers = answers.get("answer_start"), answers.get("text")
    if answers is None or answers == "":
        return [], []
    listed = answers if isinstance(answers, list | tuple) else [answers]
    if listed and all(isinstance(item, Mapping) for item in listed):
        starts = [item.get("answer_start") for item in listed]
        listed = [item.get("text") for item in listed]
    if not all(isinstance(item, str) for item in listed):
        raise BadRowError("its answers are not texts.")
    begins = list(starts) if isinstance(starts, list | tuple) else [starts] * len(listed)
    if len(begins) != len(listed):
        raise BadRowError(f"it has {len(listed)} answers and {len(begins)} places.")
    try:
        places = [None if begin in (None, "") else int(begin) for begin in begins]
    except (TypeError, ValueError) as error:
        raise BadRowError("where an answer begins is not a number.") from error
    return list(listed), places


def _articles(file: SourceFile) -> Iterator[Row] | None:
    """A row for each question of SQuAD's or CMRC's layout; None for another one."""
    with file.path.open("rb") as raw:
        stream = decompressed(raw, file.compression) if file.compression else raw
        text = "".join(Decoder().decode(stream.read))
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{file.name} is not JSON ({error}). Correct it.") from error
    if isinstance(content, dict) and isinstance(content.get("data"), list):
        return _squad(content["data"], file.name)
    if isinstance(content, list) and content and isinstance(content[0], dict):
        if "context_text" in content[0]:
            return _cmrc(content, file.name)
        if "paragraphs" in content[0]:
            return _squad(content, file.name)
    return None


def _squad(found: Sequence[Any], name: str) -> Iterator[Row]:
    number = 0
    try:
        for article in found:
            for paragraph in article["paragraphs"]:
                for asked in paragraph["qas"]:
                    number += 1
                    values = {
                        "question": asked["question"],
                        "context": paragraph["context"],
                        "answers": asked.get("answers") or [],
                        "is_impossible": asked.get("is_impossible", False),
                        "id": asked.get("id"),
                        "title": article.get("title", ""),
                    }
                    yield Row(values, name, number)
    except (KeyError, TypeError, AttributeError) as error:
        raise FormatError(
            f"{name} is not in SQuAD's layout: after question {number}, {error!r} is missing or of "
            "another kind. Correct it."
        ) from error


def _cmrc(found: Sequence[Any], name: str) -> Iterator[Row]:
    number = 0
    try:
        for paragraph in found:
            for asked in paragraph["qas"]:
                number += 1
                values = {
                    "question": asked["query_text"],
                    "context": paragraph["context_text"],
                    "answers": asked["answers"],
                    "id": asked.get("query_id"),
                    "title": paragraph.get("title", ""),
                }
                yield Row(values, name, number)
    except (KeyError, TypeError, AttributeError) as error:
        raise FormatError(
            f"{name} is not in CMRC's layout: after question {number}, {error!r} is missing or of "
            "another kind. Correct it."
        ) from error
