"""A Jinja environment in which a stranger's chat template can do no harm and cannot run away.

Jinja's own sandbox keeps a template from reaching Python's internals. It does not keep one from
asking for a string of a billion characters or for nested loops without end, so everything that can
make a value larger (arithmetic, ``~``, literals, calls, filters, printed values) and everything
that repeats (loops, macros) reports to a `Budget` first. That works in any thread, without signals.
"""

import re
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import wraps
from typing import Any

from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

MAX_VALUE = 4_000_000
"""Characters of the largest string, or characters and items of the largest list, a template may
make."""
MAX_MADE = 128_000_000
"""Characters and items that one rendering may make in all; bounds its memory."""
MAX_STEPS = 1_000_000
"""Turns of loops and calls of macros and functions in one rendering."""
MAX_SECONDS = 2.0
"""Time for one rendering; the templates of real models take about a millisecond."""
MAX_NUMBER = 100_000
"""The largest width, count or exponent a template may hand to something that repeats or pads."""

_FOUR_DIGITS = re.compile(r"\d{5}|\*|\{[^{}]*\{")
_NO_METHODS = frozenset({"translate", "encode", "format_map", "expandtabs"})
_NO_FILTERS = ("pprint", "urlize", "wordwrap", "xmlattr", "striptags", "random")


class LimitError(SecurityError):
    """A template asked for more time or memory than it may have."""


class Budget:
    """What one rendering has used; raises `LimitError` when that is more than it may."""

    def __init__(self) -> None:
        self.steps = 0
        self.made = 0
        self.deadline = time.monotonic() + MAX_SECONDS

    def step(self, made: int = 0) -> None:
        """Count one turn of a loop or one call, and `made` characters or items it makes."""
        self.steps += 1
        self.made += made
        if self.steps > MAX_STEPS or time.monotonic() > self.deadline:
            raise LimitError("it runs too long")
        if made > MAX_VALUE or self.made > MAX_MADE:
            raise LimitError("it makes too much text")


_budget: ContextVar[Budget] = ContextVar("budget")


def within_budget(work: Callable[[], Any]) -> Any:
    """Run `work` (compiling or rendering a template) with a fresh budget."""
    token = _budget.set(Budget())
    try:
        return work()
    finally:
        _budget.reset(token)


def weigh(value: Any, limit: int = MAX_VALUE) -> int:
    """Return the characters and items in `value`, shared parts counted each time; stop at
    `limit`."""
    weight = 0
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            weight += len(item)
        elif isinstance(item, Mapping):
            waiting.extend(item.keys())
            waiting.extend(item.values())
        elif isinstance(item, (list, tuple, set, frozenset)):
            waiting.extend(item)
        elif isinstance(item, Namespace):
            waiting.extend(object.__getattribute__(item, "_Namespace__attrs").values())
        elif isinstance(item, int) and item.bit_length() > 4096:
            raise LimitError("it computes with numbers that are too large")
        weight += 1
        if weight + len(waiting) > limit:
            raise LimitError("it makes too much text")
    return weight


def _checked(value: Any) -> Any:
    """Pass on what a template has just made, after counting it."""
    if isinstance(value, str):
        _budget.get().step(len(value))
    elif isinstance(value, (Mapping, list, tuple, set, frozenset, Namespace, int)):
        weigh(value)
        _budget.get().step(1 if isinstance(value, (int, Namespace)) else len(value))
    return value


def _printed(value: Any) -> Any:
    """Check a value before Jinja turns it into text."""
    if isinstance(value, str):
        _budget.get().step(len(value))
        return value
    weigh(value)
    text = str(value)
    _budget.get().step(len(text))
    return text


def _concatenated(*values: Any) -> str:
    texts = [_printed(value) for value in values]
    _budget.get().step(sum(map(len, texts)))
    return "".join(texts)


def _guard_numbers(*values: Any) -> None:
    for value in values:
        if isinstance(value, (int, float)) and abs(value) > MAX_NUMBER:
            raise LimitError(f"it asks for a width or count above {MAX_NUMBER}")


def _guard_format(template: Any) -> None:
    if isinstance(template, str) and _FOUR_DIGITS.search(template):
        raise LimitError("it formats with a width it may not use")


def _guard_replace(text: Any, old: Any, new: Any) -> None:
    text, old, new = _printed(text), _printed(old), _printed(new)
    if len(text) + text.count(old) * len(new) > MAX_VALUE:
        raise LimitError("it makes too much text")


def _joined(items: Any, separator: str, attribute: Callable[[Any], Any] | None = None) -> str:
    budget = _budget.get()
    texts: list[str] = []
    length = 0
    for item in items:
        text = _printed(attribute(item) if attribute else item)
        length += len(text) + len(separator)
        if length > MAX_VALUE:
            raise LimitError("it makes too much text")
        budget.step()
        texts.append(text)
    return separator.join(texts)


def _guarded_filter(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    skip = 1 if hasattr(function, "jinja_pass_arg") else 0

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        _budget.get().step()
        values = args[skip:]
        _guard_numbers(*values[1:], *kwargs.values())
        if name == "replace":
            _guard_replace(values[0], *[*values[1:], *kwargs.values()][:2])
        elif name == "format":
            _guard_format(values[0])
        elif name == "indent":
            text = _printed(values[0])
            width = ([*values[1:2], kwargs.get("width")])[0]
            one = len(width) if isinstance(width, str) else width or 4
            if (text.count("\n") + 1) * one > MAX_VALUE:
                raise LimitError("it makes too much text")
        elif name in ("string", "center", "trim", "upper", "lower", "title", "capitalize", "e"):
            weigh(values[0])
        return _checked(function(*args, **kwargs))

    return call


class _Watch(NodeTransformer):
    """Rewrites a parsed template so that loops, macros, ``~`` and literals report to the budget."""

    def visit_For(self, node: nodes.For, *args: Any) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.body.insert(0, _report(node.body, node.lineno))
        return node

    def visit_Macro(self, node: nodes.Macro, *args: Any) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.body.insert(0, _report(node.body, node.lineno))
        return node

    def visit_CallBlock(self, node: nodes.CallBlock, *args: Any) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.body.insert(0, _report(node.body, node.lineno))
        return node

    def visit_Concat(self, node: nodes.Concat, *args: Any) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _call(_concatenated, node.nodes, node.lineno)

    def visit_List(self, node: nodes.List, *args: Any) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _call(_checked, [node], node.lineno) if node.items else node

    def visit_Tuple(self, node: nodes.Tuple, *args: Any) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _call(_checked, [node], node.lineno) if node.items and node.ctx == "load" else node

    def visit_Dict(self, node: nodes.Dict, *args: Any) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _call(_checked, [node], node.lineno) if node.items else node


def _call(function: Callable[..., Any], args: list[nodes.Expr], lineno: int) -> nodes.Call:
    target = nodes.EnvironmentAttribute(f"watch{function.__name__}")
    return nodes.Call(target, args, [], None, None, lineno=lineno)


def _report(body: list[nodes.Node], lineno: int) -> nodes.Node:
    literal = sum(
        len(data.data) for part in body for data in part.find_all(nodes.TemplateData)
    ) + sum(len(part.data) for part in body if isinstance(part, nodes.TemplateData))
    call = nodes.Call(
        nodes.EnvironmentAttribute("watch_turn"), [nodes.Const(literal)], [], None, None
    )
    return nodes.ExprStmt(call, lineno=lineno)


class Generation(Extension):
    """``{% generation %}`` ... ``{% endgeneration %}``: what the assistant wrote."""

    tags = {"generation"}  # noqa: RUF012 (Jinja's own form)

    def parse(self, parser: Parser) -> nodes.CallBlock:
        """Turn the block into a call whose result stands between two marks."""
        lineno = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        call = nodes.Call(nodes.EnvironmentAttribute("watch_generation"), [], [], None, None)
        return nodes.CallBlock(call, [], [], body, lineno=lineno)


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment chat templates are compiled in; one for the whole process."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, on_generation: Callable[..., str]) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[Generation, loopcontrols],
            finalize=_printed,
            cache_size=0,
        )
        self.watch_concatenated = _concatenated
        self.watch_checked = _checked
        self.watch_turn = lambda made: _budget.get().step(made)
        self.watch_generation = on_generation
        for name in _NO_FILTERS:
            del self.filters[name]
        del self.globals["lipsum"]
        self.filters["join"] = _join_filter(self)
        self.filters = {
            name: _guarded_filter(name, function) for name, function in self.filters.items()
        }

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        watched = _Watch().visit(super()._parse(source, name, filename))
        assert isinstance(watched, nodes.Template)
        return watched

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Refuse what Jinja's sandbox refuses, and a few methods no template needs."""
        return super().is_safe_attribute(obj, attr, value) and not (
            isinstance(obj, str) and attr in _NO_METHODS
        )

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Return a safe stand-in where `value` is the ``format`` of a string, otherwise None."""
        safe = super().wrap_str_format(value)
        if safe is None:
            return None

        def form(*args: Any, **kwargs: Any) -> str:
            _guard_format(value.__self__)
            weigh([*args, *kwargs.values()])
            return safe(*args, **kwargs)

        return form

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Compute ``left operator right`` after checking how large the result will be."""
        sized = [x for x in (left, right) if isinstance(x, (str, list, tuple))]
        numbers = [x for x in (left, right) if isinstance(x, int)]
        if operator == "*" and sized and numbers:
            _budget.get().step(weigh(sized[0]) * max(0, numbers[0]))
        elif operator == "+" and sized:
            _budget.get().step(sum(map(len, sized)))
        elif operator == "**":
            _guard_numbers(left, right)
            if abs(right) > 64:
                raise LimitError("it raises to a power above 64")
        elif operator == "%" and isinstance(left, str):
            _guard_format(left)
            weigh(right)
        return _checked(super().call_binop(context, operator, left, right))

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call `obj` for the template after checking its arguments, then check its result."""
        owner = getattr(obj, "__self__", None)
        if owner is not self and obj not in _OWN:
            _budget.get().step()
        if isinstance(owner, str):
            _guard_numbers(*args)
            match obj.__name__:
                case "replace" if len(args) >= 2:
                    _guard_replace(owner, args[0], args[1])
                case "join" if args:
                    return _joined(args[0], owner)
        return _checked(super().call(context, obj, *args, **kwargs))


_OWN = (_concatenated, _checked)


def _join_filter(environment: Sandbox) -> Callable[..., str]:
    from jinja2.filters import make_attrgetter

    def join(value: Any, d: str = "", attribute: str | int | None = None) -> str:
        if isinstance(value, Undefined):
            value = list(value)
        get = make_attrgetter(environment, attribute) if attribute is not None else None
        return _joined(value, str(d), get)

    return join
