"""Pairs of answers of which one is preferred, in the layouts they are published in.

- TRL: ``{"prompt": ..., "chosen": ..., "rejected": ...}``, each a text or a list of messages; or
  without a prompt, where chosen and rejected are whole conversations that begin alike
- ShareGPT: ``{"conversations": [...], "chosen": {"from": "gpt", "value": "..."}, "rejected": ...}``
- alpaca: ``{"instruction": ..., "input": ..., "chosen": ..., "rejected": ...}``
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hanlin.data.columns import tell_columns
from hanlin.data.conversations import (
    ROLES,
    asked,
    columns_in,
    parts_in,
    plain_columns,
    rows_of,
    tools_in,
    turns,
    with_system,
)
from hanlin.data.records import BadRowError, collect
from hanlin.text.tables import Row
from hanlin.tokenizers.chat import Message

PAIR_ROLES: dict[str, tuple[str, ...]] = {
    **{role: names for role, names in ROLES.items() if role != "output"},
    "chosen": ("chosen", "preferred", "优选"),
    "rejected": ("rejected", "dispreferred", "拒绝"),
}
"""What a row may have -> what its columns are usually called."""


@dataclass(frozen=True)
class Preference:
    """A conversation, and two ways to answer it."""

    messages: tuple[Message, ...]
    chosen: Message
    rejected: Message
    tools: tuple[Mapping[str, Any], ...] = ()
    where: str = ""
    """File and row, for messages to the user."""

    @property
    def group(self) -> str:
        """The conversation that is answered: all pairs about it stand on one side of a split."""
        return json.dumps([self.messages, self.tools], default=str)


def read_preferences(
    sources: Sequence[str],
    *,
    columns: Mapping[str, str],
    skip_bad: bool,
    tell: Callable[[str], None],
) -> list[Preference]:
    """The pairs of files in any of these layouts.

    columns: which column plays which of the parts in `PAIR_ROLES`; others are found by their usual
    names. Raises `ConfigError` for a part that there is not and a column that no row has, and what
    `collect` raises.
    """
    rows = rows_of(sources, columns, roles=PAIR_ROLES, tell=tell)
    tell_columns(plain_columns(rows, columns, PAIR_ROLES), columns, tell)
    return collect(rows, lambda row: preference_in(row, columns), skip_bad=skip_bad, tell=tell)


def preference_in(row: Row, columns: Mapping[str, str]) -> Preference:
    """The pair of one row. Raises `BadRowError` saying why there is none."""
    parts = parts_in(row, columns, PAIR_ROLES)
    if "chosen" not in parts or "rejected" not in parts:
        raise BadRowError(f"it has not both chosen and rejected; there are: {columns_in(row)}.")
    chosen = turns(parts["chosen"], role="assistant")
    rejected = turns(parts["rejected"], role="assistant")
    before = _begun_alike(chosen, rejected)
    if before:
        # Whole conversations; what stands beside them only repeats how they begin.
        messages, chosen, rejected = before, chosen[len(before) :], rejected[len(before) :]
    elif "messages" in parts:
        messages = turns(parts["messages"])
    elif "instruction" in parts:
        messages = asked(parts)
    else:
        raise BadRowError("nothing says what is answered: a prompt, an instruction, messages.")
    messages = with_system(messages, parts)
    if len(chosen) != 1 or len(rejected) != 1:
        raise BadRowError("an answer is one turn, and these are several.")
    if chosen[0]["role"] != "assistant" or rejected[0]["role"] != "assistant":
        raise BadRowError("an answer is not the assistant's.")
    if not messages or messages[-1]["role"] not in ("user", "tool"):
        raise BadRowError("the conversation before the answers does not end with a question.")
    if chosen == rejected:
        raise BadRowError("both answers are the same.")
    where = f"{row.file}, row {row.number}"
    return Preference(tuple(messages), chosen[0], rejected[0], tools_in(parts), where)


def _begun_alike(chosen: list[Message], rejected: list[Message]) -> list[Message]:
    """The turns that two conversations share before their answers; none of mere answers."""
    alike: list[Message] = []
    for one, other in zip(chosen[:-1], rejected[:-1], strict=False):
        if one != other:
            break
        alike.append(one)
    return alike
