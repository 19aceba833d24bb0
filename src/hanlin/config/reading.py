"""From YAML and overrides to a settings dataclass, with every problem told at once."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from hanlin.config.yaml_text import parse_yaml
from hanlin.errors import ConfigError, NotFoundError, nearest

T = TypeVar("T")
Location = tuple[str | int, ...]


def read_config(
    source: str | Path | Mapping[str, Any], overrides: Sequence[str] = (), *, into: type[T]
) -> T:
    """Settings from a YAML file ("-" is standard input) or a mapping, with overrides on top.

    overrides: ``key.path=value``, the value written as in YAML. Raises NotFoundError without the
    file, and ConfigError with a line for every problem: its path, what is wrong, what to do.
    """
    raw = read_mapping(source, overrides, into=into)
    value, found = check(raw, into=into)
    if found:
        name = "The configuration" if isinstance(source, Mapping) else _name(source)
        raise ConfigError(_joined(name, found))
    assert isinstance(value, into)
    return value


def check(raw: Mapping[str, Any], *, into: type[T]) -> tuple[T | None, list[str]]:
    """The settings that a mapping holds, or all that is wrong with it, a line each."""
    import pydantic

    adapter: Any = _adapter(into)
    try:
        (value,) = adapter.validate_python((raw,))
    except pydantic.ValidationError as error:
        told = [_told(problem, raw, into) for problem in error.errors(include_url=False)]
        return None, list(dict.fromkeys(line for text in told for line in text.splitlines()))
    return value, [
        f"{_path(path)} is {str(given).lower()}, a truth value, where a number or a text is "
        "wanted. Write the number, or put the text in quotes."
        for path, given in _misplaced_truths(raw, value, ())
    ]


def read_mapping(
    source: str | Path | Mapping[str, Any], overrides: Sequence[str] = (), *, into: type
) -> dict[str, Any]:
    """What `read_config` checks: the mapping of a file with the overrides put in, unchecked.

    into: the settings class, for overrides below a short form (``schedule: cosine``).
    """
    if isinstance(source, Mapping):
        raw: dict[str, Any] = _copy(source)
    else:
        name = _name(source)
        value = parse_yaml(_text(source, name), source=name)
        if value is None:
            raise ConfigError(f"{name} is empty. Write settings as lines of `name: value`.")
        if not isinstance(value, Mapping):
            raise ConfigError(f"{name} must be a mapping: lines of `name: value`.")
        raw = _copy(value)
    for override in overrides:
        _override(raw, override, into)
    return raw


def _name(source: str | Path) -> str:
    return "Standard input" if str(source) == "-" else str(source)


def _text(source: str | Path, name: str) -> str:
    try:
        data = sys.stdin.buffer.read() if str(source) == "-" else Path(source).read_bytes()
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise NotFoundError(f"There is no file {source}. Name a YAML file.") from None
        raise ConfigError(f"{source} cannot be read ({error.strerror}). Name a file.") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{name} is not UTF-8 in line {line}. Save it as UTF-8.") from error


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value


def _override(raw: dict[str, Any], override: str, into: type) -> None:
    path, equals, text = override.partition("=")
    names = path.strip().split(".")
    if not equals or not all(names):
        raise ConfigError(f"{override!r} is not an override. Write it as key.path=value.")
    value = parse_yaml(text, source=f"The value of {path}")
    place: dict[str, Any] = raw
    hint: Any = into
    for depth, name in enumerate(names[:-1]):
        hint = _field_type(hint, name)
        below = place.get(name)
        if below is not None and not isinstance(below, Mapping) and hasattr(hint, "__from_plain__"):
            below = hint.__from_plain__(below)
        if below is None:
            below = {}
        if not isinstance(below, Mapping):
            at = ".".join(names[: depth + 1])
            raise ConfigError(
                f"{path} cannot be set: {at} is {below!r}, not a mapping. Set {at} itself."
            )
        place[name] = place = dict(below)
    place[names[-1]] = value


def _members(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _field_type(hint: Any, name: str) -> Any:
    """The settings class of a field, if `hint` is a settings class and the field holds one."""
    if not is_dataclass(hint):
        return None
    of_field = get_type_hints(hint).get(name)
    return next((h for h in _members(of_field) if is_dataclass(h)), None)


def _adapter(into: type) -> Any:
    from pydantic import ConfigDict, TypeAdapter

    # A dataclass takes the settings of what it stands in; a tuple of one can be given some.
    strict = ConfigDict(extra="forbid", allow_inf_nan=False)
    return TypeAdapter(tuple[into], config=strict)  # type: ignore[valid-type]


# Telling


def _joined(name: str, lines: list[str]) -> str:
    if len(lines) == 1:
        return f"{name}: {lines[0]}"
    return "\n".join([f"{name} has {len(lines)} problems:", *(f"  {line}" for line in lines)])


_WANTED = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "string": "a text",
    "tuple": "a list",
    "list": "a list",
    "dict": "a mapping",
    "dataclass": "a mapping",
    "path": "a path",
}


def _told(problem: Any, raw: Any, into: type) -> str:
    kind, given = problem["type"], problem["input"]
    location = _real(problem["loc"][1:], raw)
    where = _path(location)
    if kind in ("unexpected_keyword_argument", "invalid_key"):
        return _unknown(location, into)
    if kind == "missing":
        return f"{where} is missing. Set it."
    if kind == "value_error":
        said = str(problem["ctx"]["error"])
        return "\n".join(f"{where}: {line}" if where else line for line in said.splitlines())
    shown = repr(given) if len(repr(given)) <= 60 else repr(given)[:57] + "..."
    if kind == "literal_error":
        expected = problem["ctx"]["expected"].replace("'", "")
        known = expected.replace(" or ", ", ").split(", ")
        hint = nearest(given, known) if isinstance(given, str) else ""
        return f"{where} is {shown}; it must be {expected}.{hint}"
    wanted = _WANTED.get(kind.split("_")[0])
    if wanted is None:
        return f"{where} is {shown}: {problem['msg']}. Correct it."
    if isinstance(given, bool) and kind.startswith("string"):
        return f"{where} is {str(given).lower()}, a truth value. Put the text in quotes."
    return f"{where} is {shown}; it must be {wanted}."


def _real(location: Location, raw: Any) -> Location:
    """Without the names of union members that pydantic puts into a path."""
    kept: list[str | int] = []
    place = raw
    for step in location:
        if isinstance(place, Mapping) and (step in place or step == location[-1]):
            kept.append(step)
            place = place.get(step)
        elif isinstance(place, list | tuple) and isinstance(step, int):
            kept.append(step)
            place = place[step] if step < len(place) else None
        elif isinstance(place, str) or not isinstance(place, Mapping | list | tuple):
            # A short form was expanded; the path goes on inside it.
            if isinstance(step, str) and step.isidentifier() and place is not None:
                continue
            kept.append(step)
    return tuple(kept)


def _path(location: Sequence[str | int]) -> str:
    out = ""
    for step in location:
        out += f"[{step}]" if isinstance(step, int) else f".{step}" if out else step
    return out


def _unknown(location: Location, into: type) -> str:
    *above, name = location
    section: Any = into
    for step in above:
        section = _field_type(section, str(step))
    siblings = [f.name for f in fields(section)] if section is not None else []
    close = get_close_matches(str(name), siblings, n=1)
    meant = _path([*above, *close]) if close else ""
    if not close:
        everywhere = {path.rpartition(".")[2]: path for path in reversed([*_paths(into)])}
        for best in get_close_matches(str(name), list(everywhere), n=1):
            meant = everywhere[best]
    hint = f" Did you mean {meant}?" if meant else ""
    known = "" if hint or not siblings else f" There are: {', '.join(siblings)}."
    return f"{_path(location)} is not a setting.{hint}{known}"


def _paths(section: type, above: str = "") -> Iterator[str]:
    for f in fields(section):
        yield f"{above}{f.name}"
        if (below := _field_type(section, f.name)) is not None:
            yield from _paths(below, f"{above}{f.name}.")


def _misplaced_truths(raw: Any, value: Any, path: Location) -> Iterator[tuple[Location, bool]]:
    """True and False that became numbers: Python takes them for 1 and 0, people do not."""
    if isinstance(raw, bool):
        if not isinstance(value, bool) and isinstance(value, int | float):
            yield path, raw
    elif isinstance(raw, Mapping) and is_dataclass(value):
        for name, item in raw.items():
            yield from _misplaced_truths(item, getattr(value, str(name), None), (*path, name))
    elif isinstance(raw, list) and isinstance(value, tuple | list):
        for i, (item, kept) in enumerate(zip(raw, value, strict=False)):
            yield from _misplaced_truths(item, kept, (*path, i))
