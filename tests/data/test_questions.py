"""Questions with answers in a text: SQuAD 1.1 and 2.0, CMRC 2018, tables."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanlin.data.squad import Gold, Question, columns_of, locate, read_questions
from hanlin.errors import ConfigError, FormatError, InputError

CONTEXT = "The academy was founded in 738. It was closed in 1911."


def squad(*questions: dict[str, Any], context: str = CONTEXT) -> dict[str, Any]:
    return {"version": "v2.0", "data": [{"title": "Hanlin", "paragraphs": [
        {"context": context, "qas": list(questions)}]}]}  # fmt: skip


def asked(text: str, start: int, **more: Any) -> dict[str, Any]:
    answers = [{"text": text, "answer_start": start}]
    return {"id": "q", "question": "When?", "answers": answers, **more}


def read(
    tmp_path: Path, content: Any, told: list[str] | None = None, **given: Any
) -> list[Question]:
    name = given.pop("name", "a.json")
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    (tmp_path / name).write_text(text, encoding="utf-8")
    tell = (told if told is not None else []).append
    return read_questions([str(tmp_path / name)], tell=tell, **given)


def test_squad_both_versions(tmp_path: Path) -> None:
    content = squad(
        asked("738", 27),
        asked("", 0, id="n", answers=[], is_impossible=True, plausible_answers=[]),
        {"id": "none", "question": "Who?", "answers": []},
    )
    told: list[str] = []
    first, second, third = read(tmp_path, content, told)
    assert first == Question("When?", CONTEXT, (Gold("738", 27),), id="q", title="Hanlin")
    assert first.target == Gold("738", 27)
    assert CONTEXT[27 : first.target.end] == "738"
    assert second.answers == third.answers == ()
    assert second.target is None
    assert told == []


def test_an_answer_out_of_place_is_searched_for(tmp_path: Path) -> None:
    told: list[str] = []
    content = squad(asked("in", 46), asked("1911", -1), asked("738", 27))
    near, lost, exact = read(tmp_path, content, told)
    assert near.target == Gold("in", 46)
    assert lost.target == Gold("1911", 49)
    assert (near.moved, lost.moved, exact.moved) == (0, 1, 0)
    assert told == ["1 answers were not at their stated place and were found elsewhere."]


def test_the_nearest_place_is_taken() -> None:
    assert locate("in", "in a bin in", 6) == 6
    assert locate("in", "in a bin in", 8) == 9
    assert locate("in", "in a bin in", 3) == 0
    assert locate("in", "in a bin in") == 0
    assert locate("on", "in a bin in", 3) is None
    assert locate("", "in") is None


def test_some_answers_that_occur_nowhere_are_kept_as_texts(tmp_path: Path) -> None:
    told: list[str] = []
    answers = [{"text": "in 1911 A.D.", "answer_start": -1}, {"text": "1911", "answer_start": 49}]
    [question] = read(tmp_path, squad(asked("", 0, answers=answers)), told)
    assert question.answers == (Gold("in 1911 A.D.", None), Gold("1911", 49))
    assert question.target == Gold("1911", 49)
    assert "1 further answers do not occur" in told[0]


def test_answers_that_occur_nowhere_are_bad_rows(tmp_path: Path) -> None:
    content = squad(asked("1912", 3), asked("738", 27))
    with pytest.raises(InputError, match=r"1 of 2 rows.*row 1: its answer '1912' does not occur"):
        read(tmp_path, content)
    told: list[str] = []
    [question] = read(tmp_path, content, told, skip_bad=True)
    assert question.answers == (Gold("738", 27),)
    assert "1 of 2 rows" in told[0]


def test_cmrc_in_its_own_layout(tmp_path: Path) -> None:
    qas = [{"query_text": "何时？", "query_id": "1", "answers": ["1911年", "1911"]}]
    content = [
        {"context_id": "T", "context_text": "翰林院于1911年关闭。", "title": "翰林", "qas": qas}
    ]
    [question] = read(tmp_path, content)
    assert question.answers == (Gold("1911年", 4), Gold("1911", 4))
    assert (question.id, question.title) == ("1", "翰林")


@pytest.mark.parametrize(
    "row",
    [
        {"question": "When?", "context": CONTEXT, "answers": ["738"], "answer_start": [27]},
        {"question": "When?", "context": CONTEXT, "answer": "738", "answer_start": 27},
        {"question": "When?", "context": CONTEXT, "answer": "738"},
        {
            "question": "When?",
            "context": CONTEXT,
            "answers": {"text": ["738"], "answer_start": [27]},
        },
        {"query": "When?", "passage": CONTEXT, "answers": [{"text": "738", "answer_start": 27}]},
        {"问题": "When?", "原文": CONTEXT, "答案": "738"},
    ],
)
def test_rows_of_tables(tmp_path: Path, row: dict[str, Any]) -> None:
    [question] = read(tmp_path, row, name="a.jsonl")
    assert (question.question, question.context) == ("When?", CONTEXT)
    assert question.answers == (Gold("738", 27),)


def test_csv_and_named_columns(tmp_path: Path) -> None:
    text = f'q,c,a,s\nWhen?,"{CONTEXT}",738,27\nWho?,"{CONTEXT}",,\n'
    columns = {"question": "q", "context": "c", "answers": "a", "answer_start": "s"}
    first, second = read(tmp_path, text, name="a.csv", columns=columns)
    assert first.answers == (Gold("738", 27),)
    assert second.answers == ()
    with pytest.raises(ConfigError, match="'qq', and there is no such column"):
        read(tmp_path, text, name="a.csv", columns=columns | {"question": "qq"})
    with pytest.raises(ConfigError, match="quest"):
        read(tmp_path, text, name="a.csv", columns={"quest": "q"})


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"context": "a", "answer": "a"}, "no question"),
        ({"question": " ", "context": "a", "answer": "a"}, "question is empty"),
        ({"question": "a", "context": 3, "answer": "a"}, "context"),
        ({"question": "a\ud800", "context": "a", "answer": "a"}, "surrogate"),
        ({"question": "a", "context": "a", "answer": 3}, "not texts"),
        ({"question": "a", "context": "a", "answer": "a", "answer_start": "x"}, "not a number"),
        ({"question": "a", "context": "a", "answers": ["a"], "answer_start": [1, 2]}, "2 places"),
    ],
)
def test_rows_that_cannot_be_used(tmp_path: Path, row: dict[str, Any], why: str) -> None:
    with pytest.raises(InputError, match=why):
        read(tmp_path, json.dumps(row), name="a.jsonl")


def test_a_row_without_the_named_column_is_a_bad_row(tmp_path: Path) -> None:
    rows = [{"q": "When?", "context": CONTEXT, "answer": "738"}, {"context": CONTEXT}]
    text = "\n".join(map(json.dumps, rows))
    given: dict[str, Any] = {"name": "a.jsonl", "columns": {"question": "q"}}
    with pytest.raises(InputError, match=r"1 of 2 rows.*row 2: there is no column 'q'"):
        read(tmp_path, text, **given)
    told: list[str] = []
    [question] = read(tmp_path, text, told, skip_bad=True, **given)
    assert question.question == "When?"
    assert "1 of 2 rows" in told[-1]


def test_the_columns_that_play_the_parts_are_told(tmp_path: Path) -> None:
    told: list[str] = []
    read(tmp_path, {"query": "When?", "passage": CONTEXT, "answer": "738"}, told, name="a.jsonl")
    assert told == ["Columns: question is query, context is passage, answers is answer."]
    source = [str(tmp_path / "a.jsonl")]
    found = {"question": "query", "context": "passage", "answers": "answer"}
    assert columns_of(source, columns={}) == found
    read(tmp_path, squad(asked("738", 27)))
    assert columns_of([str(tmp_path / "a.json")], columns={}) == {}


@pytest.mark.parametrize(
    "content",
    ["{", '{"data": [{"title": "a"}]}', '{"data": [{"paragraphs": [{"qas": []}, 3]}]}',
     '[{"context_text": "a"}]'],
)  # fmt: skip
def test_a_file_that_is_not_whole_is_named(tmp_path: Path, content: str) -> None:
    with pytest.raises(FormatError, match=r"a\.json"):
        read(tmp_path, content)


@pytest.mark.parametrize(
    ("file", "questions", "contexts", "moved", "lost"),
    [
        ("cmrc2018/cmrc2018_dev.json", 3219, 848, 7, 193),
        ("xquad/xquad.en.json", 1190, 240, 0, 0),
        ("xquad/xquad.zh.json", 1190, 240, 0, 0),
    ],
)
def test_the_real_files_are_read_whole(
    shared_data: Path, file: str, questions: int, contexts: int, moved: int, lost: int
) -> None:
    told: list[str] = []
    found = read_questions([str(shared_data / file)], tell=told.append)
    assert len(found) == questions
    assert len({question.context for question in found}) == contexts
    assert all(question.target is not None for question in found)
    assert sum(question.moved for question in found) == moved
    assert sum(answer.start is None for q in found for answer in q.answers) == lost
    for question in found:
        for answer in question.answers:
            if answer.start is not None:
                assert question.context[answer.start : answer.end] == answer.text


def test_two_questions_of_cmrc_trial_are_empty(shared_data: Path) -> None:
    files = [str(shared_data / "cmrc2018" / "cmrc2018_trial.json")]
    with pytest.raises(InputError, match=r"2 of 1002 rows.*question is empty"):
        read_questions(files, tell=print)
    assert len(read_questions(files, skip_bad=True, tell=print)) == 1000


@given(st.text(alphabet="ab", max_size=12), st.text(alphabet="ab", max_size=3), st.integers(-1, 12))
def test_a_place_holds_the_text_and_none_is_nearer(context: str, text: str, start: int) -> None:
    places = [at for at in range(len(context)) if text and context[at : at + len(text)] == text]
    found = locate(text, context, start)
    if not places:
        assert found is None
    elif start >= 0:
        assert found in places
        assert abs(found - start) == min(abs(at - start) for at in places)
    else:
        assert found == places[0]


def test_questions_of_one_article_are_held_out_together(shared_data: Path) -> None:
    from hanlin.training.task_records import hold_out

    found = read_questions([str(shared_data / "xquad" / "xquad.en.json")], tell=print)
    train, held = hold_out(found, 0.2, seed=3)
    assert len(train) + len(held) == 1190
    assert 200 < len(held) < 320
    assert not {q.title for q in train} & {q.title for q in held}
