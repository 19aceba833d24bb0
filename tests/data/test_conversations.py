"""Conversations and preferences are read from every layout they are published in."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hanlin.data.conversations import Conversation, columns_of, read_conversations
from hanlin.data.preferences import Preference, read_preferences
from hanlin.errors import ConfigError, InputError

ASKED = {"role": "user", "content": "What is a token?"}
SAID = {"role": "assistant", "content": "A part of a text."}
RULE = {"role": "system", "content": "Be short."}


def read(
    rows: list[Any], tmp_path: Path, *, columns: Mapping[str, str] = {}, skip_bad: bool = False
) -> list[Conversation]:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return read_conversations(
        [str(path)], columns=columns, skip_bad=skip_bad, tell=lambda text: None
    )


LAYOUTS: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "messages": ({"messages": [RULE, ASKED, SAID]}, [RULE, ASKED, SAID]),
    "ShareGPT": (
        {
            "conversations": [
                {"from": "human", "value": "What is a token?"},
                {"from": "gpt", "value": "A part of a text."},
            ],
            "system": "Be short.",
        },
        [RULE, ASKED, SAID],
    ),
    "alpaca": (
        {"instruction": "What is a token?", "input": "", "output": "A part of a text."},
        [ASKED, SAID],
    ),
    "alpaca with input": (
        {"instruction": "Add.", "input": "1 2", "output": "3", "system": ""},
        [{"role": "user", "content": "Add.\n1 2"}, {"role": "assistant", "content": "3"}],
    ),
    "alpaca with history": (
        {
            "instruction": "And 2?",
            "output": "Two.",
            "history": [["What is 1?", "One."]],
            "system": "Be short.",
        },
        [
            RULE,
            {"role": "user", "content": "What is 1?"},
            {"role": "assistant", "content": "One."},
            {"role": "user", "content": "And 2?"},
            {"role": "assistant", "content": "Two."},
        ],
    ),
    "prompt and completion": (
        {"prompt": "What is a token?", "completion": "A part of a text."},
        [ASKED, SAID],
    ),
    "prompt and completion of messages": (
        {"prompt": [RULE, ASKED], "completion": [SAID]},
        [RULE, ASKED, SAID],
    ),
    "messages as JSON in a cell": (
        {"messages": json.dumps([ASKED, SAID])},
        [ASKED, SAID],
    ),
    "Chinese names": (
        {"指令": "What is a token?", "输出": "A part of a text."},
        [ASKED, SAID],
    ),
    "an answer that is JSON": (
        {"instruction": "Write a list.", "output": '[{"a": 1}]'},
        [
            {"role": "user", "content": "Write a list."},
            {"role": "assistant", "content": '[{"a": 1}]'},
        ],
    ),
    "a question at the end": (
        {"messages": [ASKED, SAID, ASKED]},
        [ASKED, SAID],
    ),
    "content in parts": (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}, SAID]},
        [{"role": "user", "content": "Hi"}, SAID],
    ),
}


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_every_layout_is_read(layout: str, tmp_path: Path) -> None:
    row, messages = LAYOUTS[layout]
    [found] = read([row], tmp_path)
    assert list(found.messages) == messages
    assert found.where.endswith("row 1")
    assert found.tools == ()


def test_layouts_may_stand_together(tmp_path: Path) -> None:
    found = read([row for row, _ in LAYOUTS.values()], tmp_path)
    assert [list(one.messages) for one in found] == [messages for _, messages in LAYOUTS.values()]


def test_tools_and_calls_are_kept(tmp_path: Path) -> None:
    tools = [{"type": "function", "function": {"name": "add"}}]
    row = {
        "tools": json.dumps(tools),
        "conversations": [
            {"from": "human", "value": "1+2?"},
            {"from": "function_call", "value": '{"name": "add", "arguments": {"a": 1, "b": 2}}'},
            {"from": "observation", "value": "3"},
            {"from": "gpt", "value": "Three."},
        ],
    }
    [found] = read([row], tmp_path)
    assert list(found.tools) == tools
    call = {"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": 2}}}
    assert found.messages[1] == {"role": "assistant", "content": "", "tool_calls": [call]}
    assert found.messages[2] == {"role": "tool", "content": "3"}


def test_columns_are_named_or_numbered(tmp_path: Path) -> None:
    columns = {"instruction": "q", "output": "a"}
    [found] = read([{"q": "What is a token?", "a": "A part of a text."}], tmp_path, columns=columns)
    assert list(found.messages) == [ASKED, SAID]
    table = tmp_path / "rows.tsv"
    table.write_text("What is a token?\tA part of a text.\n", encoding="utf-8")
    columns = {"instruction": "1", "output": "2"}
    [found] = read_conversations(
        [str(table)], columns=columns, skip_bad=False, tell=lambda text: None
    )
    assert list(found.messages) == [ASKED, SAID]
    with pytest.raises(ConfigError, match=r"data\.columns\.ouput means nothing"):
        read([{"q": "x"}], tmp_path, columns={"ouput": "q"})
    with pytest.raises(ConfigError, match="'r', and there is no such column"):
        read([{"q": "x", "output": "y"}], tmp_path, columns={"instruction": "r"})
    rows = [{"q": "x", "output": "y"}, {"instruction": "x", "output": "y"}]
    assert len(read(rows, tmp_path, columns={"instruction": "q"}, skip_bad=True)) == 1


def test_the_columns_that_all_rows_share_are_told(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows: list[dict[str, Any]] = [
        {"prompt": "x", "response": "y", "system": "z"},
        {"prompt": "x", "response": "y"},
    ]
    told: list[str] = []
    for more in ([], [{"messages": [ASKED, SAID]}]):
        path.write_text("\n".join(map(json.dumps, rows + more)), encoding="utf-8")
        read_conversations([str(path)], columns={}, skip_bad=False, tell=told.append)
        found = {} if more else {"instruction": "prompt", "output": "response"}
        assert columns_of([str(path)], columns={}) == found
    assert told == ["Columns: instruction is prompt, output is response."]


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "nothing of it": ({"a": 1}, "neither messages"),
    "an empty answer": ({"instruction": "x", "output": " "}, "assistant's text is empty"),
    "no answer": ({"messages": [ASKED]}, "nobody asks and is answered"),
    "no question": ({"messages": [SAID]}, "nobody asks and is answered"),
    "an unknown speaker": (
        {"messages": [{"role": "alien", "content": "x"}, SAID]},
        "turn 1 is said by 'alien'",
    ),
    "no list": ({"messages": 3}, "no list of turns"),
    "a number for a text": (
        {"messages": [{"role": "user", "content": 3}, SAID]},
        "turn 1 is of the type int",
    ),
    "a picture": (
        {"messages": [{"role": "user", "content": [{"type": "image_url"}]}, SAID]},
        "more than text",
    ),
    "two system prompts": ({"messages": [RULE, ASKED, SAID], "system": "Be long."}, "one more"),
    "a weight": (
        {"messages": [ASKED, {**SAID, "weight": 0}]},
        "turn 2 has a weight, which hanlin does not follow",
    ),
    "half a character": ({"instruction": "\ud800", "output": "x"}, "half a character"),
    "two questions": (
        {"prompt": "x", "question": "y", "output": "z"},
        "Several columns may be the instruction: prompt, question",
    ),
}


@pytest.mark.parametrize("case", list(BAD))
def test_a_bad_row_is_counted_and_told(case: str, tmp_path: Path) -> None:
    row, said = BAD[case]
    good = LAYOUTS["alpaca"][0]
    with pytest.raises(InputError, match="1 of 3 rows cannot be used") as error:
        read([good, row, good], tmp_path)
    assert said in str(error.value)
    assert "row 2" in str(error.value)
    assert len(read([good, row, good], tmp_path, skip_bad=True)) == 2


_NAMES = st.sampled_from(
    "messages conversations role from content value instruction input output chosen rejected "
    "prompt history tools system".split()
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(row=st.dictionaries(_NAMES, _JSON, max_size=5))
def test_no_row_makes_the_reader_fail(
    row: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n" + json.dumps(LAYOUTS["alpaca"][0]), encoding="utf-8")
    good = {"prompt": "x", "chosen": "a", "rejected": "b"}
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" + json.dumps(good))

    def told(text: str) -> None:
        assert "cannot be used" in text or text.startswith("Columns: ")

    for reader in (read_conversations, read_preferences):
        reader([str(path)], columns={}, skip_bad=True, tell=told)


CHOSEN, REJECTED = SAID, {"role": "assistant", "content": "Who knows."}
PAIRS: dict[str, dict[str, Any]] = {
    "TRL": {"prompt": "What is a token?", "chosen": "A part of a text.", "rejected": "Who knows."},
    "TRL's messages": {"prompt": [ASKED], "chosen": [CHOSEN], "rejected": [REJECTED]},
    "TRL without a prompt": {"chosen": [ASKED, CHOSEN], "rejected": [ASKED, REJECTED]},
    "a prompt that is repeated": {
        "prompt": "What is a token?",
        "chosen": [ASKED, CHOSEN],
        "rejected": [ASKED, REJECTED],
    },
    "ShareGPT": {
        "conversations": [{"from": "human", "value": "What is a token?"}],
        "chosen": {"from": "gpt", "value": "A part of a text."},
        "rejected": {"from": "gpt", "value": "Who knows."},
    },
    "alpaca": {
        "instruction": "What is a token?",
        "input": "",
        "chosen": "A part of a text.",
        "rejected": "Who knows.",
    },
}


def pairs(rows: list[Any], tmp_path: Path) -> list[Preference]:
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return read_preferences([str(path)], columns={}, skip_bad=False, tell=lambda text: None)


@pytest.mark.parametrize("layout", list(PAIRS))
def test_every_layout_of_pairs_is_read(layout: str, tmp_path: Path) -> None:
    [found] = pairs([PAIRS[layout]], tmp_path)
    assert list(found.messages) == [ASKED]
    assert found.chosen == CHOSEN
    assert found.rejected == REJECTED


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rejected": "A part of a text."}, "both answers are the same"),
        ({"rejected": ""}, "not both chosen and rejected"),
        ({"prompt": [ASKED, SAID]}, "does not end with a question"),
        ({"prompt": None}, "nothing says what is answered"),
        ({"chosen": [SAID, SAID]}, "one turn"),
        ({"chosen": [ASKED]}, "not the assistant's"),
    ],
)
def test_a_bad_pair_is_told(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        pairs([PAIRS["TRL"] | changes], tmp_path)


def test_real_sets_are_read(shared_data: Path) -> None:
    folder = shared_data / "llamafactory_demo"
    for name, count in (("alpaca_en_demo", 999), ("alpaca_zh_demo", 1000), ("identity", 91)):
        found = read_conversations(
            [str(folder / f"{name}.json")], columns={}, skip_bad=False, tell=lambda text: None
        )
        assert len(found) == count
        assert all([m["role"] for m in one.messages] == ["user", "assistant"] for one in found)
    for name, count in (("dpo_en_demo", 299), ("dpo_zh_demo", 300)):
        chosen = read_preferences(
            [str(folder / f"{name}.json")], columns={}, skip_bad=False, tell=lambda text: None
        )
        assert len(chosen) == count
        assert any(len(one.messages) > 1 for one in chosen)
