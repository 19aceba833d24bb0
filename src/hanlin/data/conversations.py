"""Conversations from files, in the layouts they are published in.

- messages (OpenAI, TRL): ``{"messages": [{"role": "user", "content": "..."}, ...]}``
- ShareGPT: ``{"conversations": [{"from": "human", "value": "..."}, ...]}``
- alpaca: ``{"instruction": "...", "input": "...", "output": "..."}``, with ``system`` and
  ``history`` where there are some
- prompt and completion (TRL), each a text or a list of messages

``tools`` and ``system`` beside them are kept. Files of several layouts may stand together: each row
is read by its own columns.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hanlin.data.columns import (
    check_columns,
    check_roles,
    find_columns,
    header_of,
    shared_columns,
    tell_columns,
)
from hanlin.data.records import BadRowError, collect
from hanlin.errors import ConfigError
from hanlin.text.tables import BadRow, Row, read_rows
from hanlin.tokenizers.chat import Message

ROLES: dict[str, tuple[str, ...]] = {
    "messages": ("messages", "conversations", "conversation", "对话"),
    "instruction": ("instruction", "prompt", "question", "指令", "提示", "问题"),
    "input": ("input", "输入"),
    "output": ("output", "response", "completion", "answer", "输出", "回复", "回答"),
    "system": ("system", "系统"),
    "history": ("history", "历史"),
    "tools": ("tools", "functions", "工具"),
}
"""What a row may have -> what its columns are usually called."""

_NEEDED = ("messages", "instruction", "output", "chosen", "rejected")

SPEAKERS = {
    "system": "system",
    "developer": "developer",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
}
"""Who speaks, by the names that layouts have -> the role chat templates know."""


@dataclass(frozen=True)
class Conversation:
    """What was said, up to the last answer."""

    messages: tuple[Message, ...]
    """Turns with role and content, and whatever else the row says of them (tool_calls ...)."""
    tools: tuple[Mapping[str, Any], ...] = ()
    """Functions the assistant may call, as chat templates take them."""
    where: str = ""
    """File and row, for messages to the user."""


def read_conversations(
    sources: Sequence[str],
    *,
    columns: Mapping[str, str],
    skip_bad: bool,
    tell: Callable[[str], None],
) -> list[Conversation]:
    """The conversations of files in any of these layouts.

    columns: which column plays which of the parts in `ROLES`; others are found by their usual
    names. Raises `ConfigError` for a part that there is not and a column that no row has, and what
    `collect` raises.
    """
    rows = rows_of(sources, columns, roles=ROLES, tell=tell)
    tell_columns(plain_columns(rows, columns, ROLES), columns, tell)
    return collect(rows, lambda row: conversation_in(row, columns), skip_bad=skip_bad, tell=tell)


def columns_of(
    sources: Sequence[str],
    *,
    columns: Mapping[str, str],
    roles: Mapping[str, Sequence[str]] = ROLES,
) -> dict[str, str]:
    """Which column plays which part in every row; others are found row by row."""
    rows = rows_of(sources, columns, roles=roles, tell=lambda text: None)
    return plain_columns(rows, columns, roles)


def rows_of(
    sources: Sequence[str],
    columns: Mapping[str, str],
    *,
    roles: Mapping[str, Sequence[str]],
    tell: Callable[[str], None],
) -> list[Row | BadRow]:
    """The rows of files; raises `ConfigError` for a part in `columns` that is none of `roles`, and
    for a column that no row has."""
    check_roles(columns, roles)
    rows = list(read_rows(list(sources), header=header_of(columns), tell=tell))
    if layouts := _layouts(rows):
        check_columns(columns, dict.fromkeys(name for names in layouts for name in names))
    return rows


def plain_columns(
    rows: Sequence[Row | BadRow], given: Mapping[str, str], roles: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    """What was given, and of the parts that a row cannot do without those that one column plays in
    every row."""
    found = []
    for names in _layouts(rows):
        try:
            found.append(find_columns(names, roles, {}, [], optional=roles.keys()))
        except ConfigError:  # several may be meant: these rows are bad ones
            continue
    needed = {role: name for role, name in shared_columns(found).items() if role in _NEEDED}
    return {**needed, **given}


def _layouts(rows: Sequence[Row | BadRow]) -> list[tuple[str, ...]]:
    """The names of columns that rows have, each combination once."""
    return list(dict.fromkeys(tuple(row.values) for row in rows if isinstance(row, Row)))


def conversation_in(row: Row, columns: Mapping[str, str]) -> Conversation:
    """The conversation of one row. Raises `BadRowError` saying why there is none."""
    parts = parts_in(row, columns, ROLES)
    if "messages" in parts:
        messages = turns(parts["messages"])
    elif "instruction" in parts and "output" in parts:
        messages = [*asked(parts), *turns(parts["output"], role="assistant")]
    else:
        raise BadRowError(
            "it has neither messages (conversations) nor an instruction (prompt) with its output; "
            f"there are: {columns_in(row)}."
        )
    messages = with_system(messages, parts)
    last = max((n for n, m in enumerate(messages) if m["role"] == "assistant"), default=0)
    messages = messages[: last + 1]
    if not any(m["role"] == "user" for m in messages[:last]):
        raise BadRowError("nobody asks and is answered in it.")
    return Conversation(tuple(messages), tools_in(parts), f"{row.file}, row {row.number}")


def columns_in(row: Row) -> str:
    """The names of a row's columns, for messages to the user."""
    return ", ".join(f"{name:.40}" for name in list(row.values)[:12])


def parts_in(
    row: Row, columns: Mapping[str, str], roles: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """What a row has, by the part it plays; what is empty is left out."""
    for role, column in columns.items():
        if column not in row.values:
            raise BadRowError(
                f"there is no column {column!r} ({role}); there are: {columns_in(row)}."
            )
    try:
        found = find_columns(list(row.values), roles, columns, [row], optional=roles.keys())
    except ConfigError as error:
        raise BadRowError(str(error)) from error
    values = {role: row.values[column] for role, column in found.items()}
    return {role: value for role, value in values.items() if value not in (None, "", [])}


def asked(parts: Mapping[str, Any]) -> list[Message]:
    """The turns before the answer of an instruction, its input and its history."""
    messages: list[Message] = []
    for pair in _parsed(parts.get("history", [])):
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise BadRowError("its history is no list of pairs of question and answer.")
        messages += [said("user", pair[0]), said("assistant", pair[1])]
    instruction = _as_turns(parts["instruction"])
    if not isinstance(instruction, str):
        if "input" in parts:
            raise BadRowError("its instruction is a list of turns, so that input has no place.")
        return [*messages, *turns(instruction)]
    if "input" in parts:
        instruction = f"{instruction}\n{_text(parts['input'], 'input')}"
    return [*messages, said("user", instruction)]


def with_system(messages: list[Message], parts: Mapping[str, Any]) -> list[Message]:
    """With the system prompt that stands beside the turns, where there is one."""
    if "system" not in parts:
        return messages
    if messages and messages[0]["role"] == "system":
        raise BadRowError("it has a system prompt beside its turns and one more among them.")
    return [said("system", parts["system"]), *messages]


def turns(value: Any, *, role: str | None = None) -> list[Message]:
    """Turns in any layout; role: whose turn a mere text is."""
    if role is not None and isinstance(value := _as_turns(value), str):
        return [said(role, value)]
    value = _parsed(value)
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list | tuple) or not value:
        raise BadRowError("its conversation is no list of turns.")
    return [_turn(number, turn) for number, turn in enumerate(value, 1)]


def said(role: str, content: Any) -> Message:
    """One turn. Raises `BadRowError` where an answer or question is no text, or empty."""
    return {"role": role, "content": _text(content, f"the {role}'s text")}


def tools_in(parts: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """The functions that stand beside the turns, as chat templates take them."""
    tools = _parsed(parts.get("tools", []))
    if not isinstance(tools, list | tuple) or not all(isinstance(t, Mapping) for t in tools):
        raise BadRowError("its tools are no list of functions.")
    return tuple(tools)


def _turn(number: int, turn: Any) -> Message:
    if not isinstance(turn, Mapping):
        raise BadRowError(f"turn {number} is no object with a role and its text.")
    speaker = turn.get("role", turn.get("from"))
    if not isinstance(speaker, str) or speaker not in SPEAKERS:
        raise BadRowError(
            f"turn {number} is said by {speaker!r}; there are: {', '.join(SPEAKERS)}."
        )
    if turn.get("weight", 1) != 1:
        raise BadRowError(f"turn {number} has a weight, which hanlin does not follow.")
    content = turn.get("content", turn.get("value"))
    rest = {
        key: value
        for key, value in turn.items()
        if key not in ("role", "from", "content", "value", "weight") and value is not None
    }
    if speaker == "function_call":
        call = _parsed(content)
        calls = call if isinstance(call, list) else [call]
        if not all(isinstance(one, Mapping) and "name" in one for one in calls):
            raise BadRowError(f"turn {number} calls no function by its name.")
        rest["tool_calls"] = [{"type": "function", "function": dict(one)} for one in calls]
        content = ""
    if isinstance(content, list):
        content = _joined(content, number)
    if rest.get("tool_calls") and not content:
        return {"role": SPEAKERS[speaker], "content": "", **rest}
    return {"role": SPEAKERS[speaker], "content": _text(content, f"turn {number}"), **rest}


def _joined(content: list[Any], number: int) -> str:
    """Content that comes in parts, as one text."""
    if not all(isinstance(part, Mapping) and isinstance(part.get("text"), str) for part in content):
        raise BadRowError(f"turn {number} has more than text in it, and hanlin reads text.")
    return "".join(part["text"] for part in content)


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise BadRowError(f"{what} is of the type {type(value).__name__}, not text.")
    if not value.strip():
        raise BadRowError(f"{what} is empty.")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise BadRowError(f"{what} has half a character (a lone surrogate).")
    return value


def _as_turns(value: Any) -> Any:
    """Turns that a table holds as JSON; other text as it is, also where it is JSON."""
    parsed = _parsed(value)
    listed = isinstance(parsed, list) and bool(parsed)
    named = listed and all(isinstance(t, Mapping) and {"role", "from"} & set(t) for t in parsed)
    return parsed if named or not isinstance(value, str) else value


def _parsed(value: Any) -> Any:
    """A list or object that a table holds as JSON; other text as it is."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("[", "{"):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value
