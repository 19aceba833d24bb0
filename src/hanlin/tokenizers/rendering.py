"""Compiling and running chat templates in the sandbox, with every failure made a clear error."""

import json
from collections.abc import Iterator
from contextvars import ContextVar
from datetime import datetime
from functools import cache
from typing import Any

from jinja2 import Template
from jinja2.exceptions import TemplateError, TemplateSyntaxError

from hanlin.errors import FormatError, InputError
from hanlin.tokenizers.sandbox import MAX_VALUE, LimitError, Sandbox, weigh, within_budget

MAX_SOURCE = 100_000
"""Characters of the longest template, which compile in about 2 s; real ones have up to 20,000."""


def compile_template(source: str) -> Template:
    """Compile a template. Raises `FormatError` where the source is not one, or is too long."""
    if len(source) > MAX_SOURCE:
        raise FormatError(
            f"The chat template has {len(source):,} characters, and at most "
            f"{MAX_SOURCE:,} are read. Use the template of the model's authors."
        )
    try:
        template: Template = within_budget(lambda: _sandbox().from_string(source))
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


def render(template: Template, context: dict[str, Any], *, marks: tuple[str, str]) -> str:
    """Return the text of a template, with `marks` around each ``{% generation %}`` block.

    Raises `InputError` where the template refuses the messages (``raise_exception``) and
    `FormatError` where it fails or asks for more than it may have.
    """
    token = _span_marks.set(marks)
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
    finally:
        _span_marks.reset(token)
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


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Write JSON as transformers' templates expect it: Unicode kept, nothing escaped for HTML."""
    weight = weigh(value)
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
