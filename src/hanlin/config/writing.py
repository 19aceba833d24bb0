"""Settings back to YAML, with what each one means as a comment."""

import ast
import inspect
import textwrap
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from hanlin.config.yaml_text import dump_yaml


def to_plain(value: Any) -> Any:
    """Settings as plain values (mappings, lists, texts, numbers): what JSON and YAML can say.

    `read_config` reads them to the same object.
    """
    if hasattr(value, "__to_plain__"):
        return to_plain(value.__to_plain__())
    if is_dataclass(value):
        return {f.name: to_plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def write_config(settings: Any, *, comments: bool = True) -> str:
    """YAML that `read_config` reads to the same object, each setting under its description."""
    return "".join(_lines(settings, "", comments=comments))


def _lines(settings: Any, indent: str, *, comments: bool) -> list[str]:
    out: list[str] = []
    about = descriptions(type(settings)) if comments else {}
    for f in fields(settings):
        value = getattr(settings, f.name)
        if text := about.get(f.name):
            start = f"{indent}# "
            out += [f"{line}\n" for line in textwrap.wrap(text, 96, initial_indent=start,
                                                          subsequent_indent=start)]  # fmt: skip
        if is_dataclass(value) and not hasattr(value, "__to_plain__") and fields(value):
            out.append(f"{indent}{f.name}:\n")
            out += _lines(value, indent + "  ", comments=comments)
        else:
            text = dump_yaml({f.name: to_plain(value)})
            out += [f"{indent}{line}\n" for line in text.splitlines()]
    return out


def descriptions(settings: type) -> dict[str, str]:
    """What the string under each field of a dataclass says, in one line each."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(settings)))
    (cls,) = (node for node in tree.body if isinstance(node, ast.ClassDef))
    out = {}
    for node, after in zip(cls.body, cls.body[1:], strict=False):
        if (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
            and isinstance(after.value.value, str)
        ):
            out[node.target.id] = " ".join(after.value.value.split())
    return out
