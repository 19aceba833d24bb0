"""How a settings class is spelt in YAML where that differs from a mapping of its fields."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from hanlin.errors import ConfigError

C = TypeVar("C", bound=type)


def refuse(problems: Sequence[str]) -> None:
    """Raise one ConfigError that says all of `problems`, a line each; do nothing without any."""
    if problems:
        raise ConfigError("\n".join(problems))


def written_as(
    read: Callable[[Any], Any], write: Callable[[Any], Any] | None = None
) -> Callable[[C], C]:
    """Let a settings dataclass be written in another way than as a mapping of its fields.

    read: what stands in the YAML to a mapping of the fields; returns anything else unchanged, and
    raises ConfigError for what it cannot read. write: the object to what should stand in the YAML
    (None: a mapping of the fields).
    """

    def decorate(cls: C) -> C:
        def schema(source: Any, handler: Any) -> Any:
            from pydantic_core import core_schema

            # Where the class is used again, pydantic looks its schema up by `ref`: the reader must
            # be what it finds there.
            inner = dict(handler(source))
            ref = inner.pop("ref", None)
            return core_schema.no_info_before_validator_function(read, inner, ref=ref)

        cls.__get_pydantic_core_schema__ = staticmethod(schema)  # type: ignore[attr-defined]
        cls.__from_plain__ = staticmethod(read)  # type: ignore[attr-defined]
        if write is not None:
            cls.__to_plain__ = write  # type: ignore[attr-defined]
        return cls

    return decorate


def name_or_mapping(name: str = "name") -> Callable[[Any], Any]:
    """A reader for `written_as`: a text alone stands for a mapping with that one field."""

    def read(value: Any) -> Any:
        return {name: value} if isinstance(value, str) else value

    return read


def texts(value: Any) -> Any:
    """One text where a list of texts may stand: a list of one."""
    return [value] if isinstance(value, str) else value
