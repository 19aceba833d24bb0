"""A conversation as it stands: what was said, under which instructions, with which settings."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hanlin.cli.files import whole_file
from hanlin.cli.output import read_text
from hanlin.errors import FormatError, InputError

if TYPE_CHECKING:
    from hanlin.tasks import LanguageModel

Turn = dict[str, str]


@dataclass
class Conversation:
    """Turns of user and assistant, oldest first; the last may be a question not yet answered."""

    system: str | None = None
    turns: list[Turn] = field(default_factory=list)

    def messages(self) -> list[Turn]:
        """Everything the model reads."""
        first = [] if self.system is None else [{"role": "system", "content": self.system}]
        return first + self.turns

    def ask(self, text: str) -> None:
        """Add what the user says."""
        self.turns.append({"role": "user", "content": text})

    def answer(self, text: str) -> None:
        """Add what the assistant says."""
        self.turns.append({"role": "assistant", "content": text})

    def undo(self) -> str | None:
        """Take back the last question and its answer; return the question."""
        if self.turns and self.turns[-1]["role"] == "assistant":
            self.turns.pop()
        return self.turns.pop()["content"] if self.turns else None

    def fit(self, lm: "LanguageModel", *, answer_tokens: int) -> int:
        """Drop the oldest turns until prompt and answer fit the context; return how many went.

        The system's instructions and the last question stay, and the answer gets `answer_tokens`
        or a quarter of the context, whichever is less. Raises `InputError`, and drops nothing,
        where even the last question alone is too long.
        """
        if lm.context is None:
            return 0
        room = lm.context - min(answer_tokens, lm.context // 4)
        kept = list(self.turns)
        length = self._length(lm, kept)
        while len(kept) > 1 and length > room:
            # A question goes with its answer: templates want the roles to alternate.
            del kept[: 2 if kept[1]["role"] == "assistant" else 1]
            length = self._length(lm, kept)
        if length >= lm.context:
            raise InputError(
                f"The message is too long: with its instructions it has {length} tokens, and this "
                f"model reads {lm.context}, answer included. Shorten it."
            )
        dropped = len(self.turns) - len(kept)
        self.turns = kept
        return dropped

    def _length(self, lm: "LanguageModel", turns: list[Turn]) -> int:
        return len(lm.encode_chat(Conversation(self.system, turns).messages()))

    def save(self, path: Path) -> None:
        """Write the conversation as JSON; raises `HanlinError`."""
        with whole_file(path) as file:
            json.dump({"messages": self.messages()}, file, ensure_ascii=False, indent=2)
            file.write("\n")

    @classmethod
    def load(cls, path: Path) -> "Conversation":
        """Read what `save` wrote; raises `NotFoundError`, `FormatError`."""
        try:
            data: Any = json.loads(read_text(path.expanduser()))
        except (json.JSONDecodeError, RecursionError, InputError) as error:
            raise FormatError(
                f"{path} is not a saved conversation. Choose another file."
            ) from error
        messages = data.get("messages") if isinstance(data, dict) else None
        if not isinstance(messages, list) or not all(map(_is_turn, messages)):
            raise FormatError(
                f'{path} is not a saved conversation: it needs "messages" with role and content.'
            )
        turns = [{"role": turn["role"], "content": turn["content"]} for turn in messages]
        system = turns.pop(0)["content"] if turns and turns[0]["role"] == "system" else None
        return cls(system, turns)


def _is_turn(turn: object) -> bool:
    return (
        isinstance(turn, dict)
        and turn.get("role") in ("system", "user", "assistant")
        and isinstance(turn.get("content"), str)
    )
