"""Chat templates: the Jinja text in a model directory that turns messages into a prompt.

The semantics are those model authors write for (the ``chat_template`` of Hugging Face tokenizers):
trimmed blocks, loop controls, ``tojson`` that keeps Unicode, ``raise_exception``, ``strftime_now``
and ``{% generation %}`` spans. A template is a program by a stranger, so it runs in `sandbox`.
"""

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from datetime import datetime
from functools import cache, cached_property
from typing import Any

from jinja2 import Template
from jinja2.exceptions import TemplateError, TemplateSyntaxError

from hanlin.errors import FormatError, InputError
from hanlin.tokenizers.sandbox import MAX_VALUE, LimitError, Sandbox, _weigh, within_budget

Message = Mapping[str, Any]
"""One turn: ``role`` and ``content``, and whatever else the template reads (``tool_calls`` ...)."""

MAX_SOURCE = 100_000
"""Characters of the longest template, which compile in about 2 s; real ones have up to 20,000."""


class ChatTemplate:
    """One chat template; it is compiled when first used, so that a bad one harms nothing else."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.marks_generation = "endgeneration" in source

    @cached_property
    def _template(self) -> Template:
        if len(self.source) > MAX_SOURCE:
            raise FormatError(
                f"The chat template has {len(self.source):,} characters, and at most "
                f"{MAX_SOURCE:,} are read. Use the template of the model's authors."
            )
        try:
            template: Template = within_budget(lambda: _sandbox().from_string(self.source))
        except TemplateSyntaxError as error:
            raise FormatError(
                f"The chat template has an error in line {error.lineno}: {error.message}. "
                "Correct the template."
            ) from error
        except (TemplateError, RecursionError, SyntaxError, MemoryError, OverflowError) as error:
            raise FormatError(
                f"The chat template cannot be compiled: {_reason(error)}. Correct the template."
            ) from error
        return template

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
            messages, add_generation_prompt=add_generation_prompt, tools=tools, **variables
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
        opening, closing = _marks()
        token = _span_marks.set((opening, closing))
        try:
            marked = self._run(
                messages, add_generation_prompt=add_generation_prompt, tools=tools, **variables
            )
        finally:
            _span_marks.reset(token)
        return _take_out(marked, opening, closing)

    def _run(self, messages: Sequence[Message], **variables: Any) -> str:
        if not messages:
            raise InputError("The conversation has no messages. Give at least one.")
        template = self._template
        context = {"messages": messages, "documents": None, **variables}
        try:
            text: str = within_budget(lambda: "".join(_pieces(template, context)))
        except (InputError, FormatError):
            raise
        except LimitError as error:
            raise FormatError(
                f"The chat template was stopped: {error.message}. Use another template."
            ) from error
        except (
            TemplateError,
            TypeError,
            ValueError,
            LookupError,
            AttributeError,
            ArithmeticError,
            RecursionError,
            MemoryError,
        ) as error:
            raise FormatError(
                f"The chat template failed on these messages: {_reason(error)}. Check that every "
                "message has a role and content, or correct the template."
            ) from error
        return text


def _pieces(template: Template, context: dict[str, Any]) -> Iterator[str]:
    length = 0
    for piece in template.root_render_func(template.new_context(context)):
        length += len(piece)
        if length > MAX_VALUE:
            raise LimitError("it makes too much text")
        yield piece


_span_marks: ContextVar[tuple[str, str]] = ContextVar("span_marks", default=("", ""))


@cache
def _sandbox() -> Sandbox:
    sandbox = Sandbox(on_generation=_mark)
    sandbox.filters["tojson"] = _to_json
    sandbox.globals["raise_exception"] = _raise_exception
    sandbox.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return sandbox


def _mark(caller: Any) -> str:
    opening, closing = _span_marks.get()
    return f"{opening}{caller()}{closing}"


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


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Write JSON as transformers' templates expect it: Unicode kept, nothing escaped for HTML."""
    weight = _weigh(value)
    if indent is not None and (indent > 64 or weight * (indent + 1) > MAX_VALUE):
        raise LimitError("it makes too much text")
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _raise_exception(message: str) -> None:
    raise InputError(
        f"The chat template refuses these messages: {message}. Change the messages as it asks."
    )


def _reason(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "it calls itself without end"
    return str(error).rstrip(".") or type(error).__name__
