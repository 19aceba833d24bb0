"""YAML as people expect it to read: the core schema of YAML 1.2 on top of PyYAML.

PyYAML follows YAML 1.1, where ``3e-4`` is a text, ``no`` (a language!) is false, ``1:30`` is 90 and
``2024-01-01`` is a date, and takes the last of two equal keys. Here only ``true`` and ``false`` are
truth values, ``3e-4`` is a number, dates and ``no`` are texts, and a key that comes twice is an
error.
"""

import re
from typing import Any

import yaml

from hanlin.errors import ConfigError

MOST_VALUES = 1_000_000

_PLAIN = {
    "tag:yaml.org,2002:null": r"~|null|Null|NULL|",
    "tag:yaml.org,2002:bool": r"true|True|TRUE|false|False|FALSE",
    "tag:yaml.org,2002:int": r"[-+]?[0-9][0-9_]*|0o[0-7]+|0x[0-9a-fA-F]+",
    "tag:yaml.org,2002:float": (
        r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
    ),
}


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012 (PyYAML's own interface)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key must be a plain text", key.start_mark
                )
            if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} comes twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)

    def construct_yaml_int(self, node: Any) -> int:
        text = self.construct_scalar(node).replace("_", "").lower()
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        return int(text.removeprefix("0o").removeprefix("0x") if base != 10 else text, base)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


class _Dumper(yaml.SafeDumper):
    """Quotes whatever YAML 1.1 or 1.2 would not read as the same text."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: list(pairs) for first, pairs in yaml.SafeDumper.yaml_implicit_resolvers.items()
    }

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, data: str) -> Any:
        # PyYAML writes these line breaks bare and reads them as others.
        odd = any(c in data for c in "\r\x85\u2028\u2029\ufeff")
        return self.represent_scalar("tag:yaml.org,2002:str", data, style='"' if odd else None)


_Dumper.add_representer(str, _Dumper.represent_str)

for _tag, _pattern in _PLAIN.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_tag, re.compile(rf"(?:{_pattern})\Z"), None)
_Loader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile(r"<<\Z"), ["<"])


def parse_yaml(text: str, *, source: str) -> Any:
    """The value of a YAML text; raises ConfigError naming `source`, the line and the remedy."""
    try:
        value = yaml.load(text, _Loader)
        _check_tree(value, [MOST_VALUES], 0)
        return value
    except yaml.YAMLError as error:
        raise ConfigError(f"{source} is not YAML: {_said(error)}") from error
    except (ValueError, RecursionError) as error:  # a number of 5000 digits; 1000 brackets
        raise ConfigError(f"{source} cannot be read: {error}. Write it more simply.") from error


def _check_tree(value: Any, left: list[int], depth: int) -> None:
    """Refuse what repeats itself without end through its own anchors."""
    left[0] -= 1
    if depth > 100 or left[0] < 0:
        raise ValueError("it is nested too deep, or repeats itself without end")
    if isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            _check_tree(item, left, depth + 1)


def _said(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = str(getattr(error, "problem", None) or error).rstrip(".")
    where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
    remedy = "Correct it."
    if "'\\t'" in problem:
        remedy = "YAML is indented with spaces; replace the tabs."
    elif "comes twice" in problem:
        remedy = "Keep one of the two."
    elif "mapping values are not allowed" in problem:
        remedy = "Quote the text that contains ': ', or look at the indentation."
    return f"{problem}{where}. {remedy}"


def dump_yaml(value: Any) -> str:
    """A plain value as YAML, in the order given, readable by `parse_yaml` and by YAML 1.1."""
    return yaml.dump(
        value,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=1000,
        default_flow_style=False,
    )
