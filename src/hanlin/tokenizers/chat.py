"""Chat templates: the Jinja text in a model directory that turns messages into a prompt.

The semantics are those model authors write for (the ``chat_template`` of Hugging Face tokenizers):
trimmed blocks, loop controls, ``tojson`` that keeps Unicode, ``raise_exception``, ``strftime_now``
and ``{% generation %}`` spans. A template is a program by a stranger: `rendering` runs it.
"""

import secrets
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hanlin.errors import FormatError, InputError

if TYPE_CHECKING:
    from jinja2 import Template

Message = Mapping[str, Any]
"""One turn: ``role`` and ``content``, and whatever else the template reads (``tool_calls`` ...)."""


class ChatTemplate:
    """One chat template; it is compiled when first used, so that a bad one harms nothing else."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.marks_generation = "endgeneration" in source

    @cached_property
    def _template(self) -> "Template":
        # Jinja takes longer to import than all else here, and encoding text does not need it.
        from hanlin.tokenizers.rendering import compile_template

        return compile_template(self.source)

    def render(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = False,
        tools: Sequence[Mapping[str, Any]] | None = None,
        **variables: Any,
    ) -> str:
        """Return the text of `messages`; `variables` are visible to the template by name.

        Raises `InputError` where the template refuses the messages (``raise_exception``) and
        `FormatError` where it fails or asks for more than it may have.
        """
        return self._run(
            ("", ""),
            messages,
            add_generation_prompt=add_generation_prompt,
            tools=tools,
            **variables,
        )

    def render_spans(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = False,
        tools: Sequence[Mapping[str, Any]] | None = None,
        **variables: Any,
    ) -> tuple[str, list[tuple[int, int]]]:
        """As `render`, with the characters [start, end) of each ``{% generation %}`` block."""
        marks = _marks()
        marked = self._run(
            marks,
            messages,
            add_generation_prompt=add_generation_prompt,
            tools=tools,
            **variables,
        )
        return _take_out(marked, *marks)

    def _run(self, marks: tuple[str, str], messages: Sequence[Message], **variables: Any) -> str:
        from hanlin.tokenizers.rendering import render

        if not messages:
            raise InputError("The conversation has no messages. Give at least one.")
        context = {"messages": messages, "documents": None, **variables}
        return render(self._template, context, marks=marks)


def _marks() -> tuple[str, str]:
    """Two strings no message holds: private-use characters drawn anew for each rendering."""
    name = "".join(chr(0xF0000 + secrets.randbelow(0xFFF0)) for _ in range(6))
    return f"\U00100001{name}", f"\U00100002{name}"


def _take_out(marked: str, opening: str, closing: str) -> tuple[str, list[tuple[int, int]]]:
    parts: list[str] = []
    spans: list[tuple[int, int]] = []
    length = 0
    for n, part in enumerate(marked.split(opening)):
        if n == 0:
            inside, rest = "", part
        else:
            inside, found, rest = part.partition(closing)
            if not found:
                raise FormatError(
                    "The chat template cuts or nests a {% generation %} block. Put the block "
                    "around the assistant's text only."
                )
            spans.append((length, length + len(inside)))
        parts += [inside, rest]
        length += len(inside) + len(rest)
    return "".join(parts), spans
