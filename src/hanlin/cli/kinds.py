"""Which kind of model a verb needs, said in one sentence where it got another."""

from typing import TYPE_CHECKING, TypeVar

from hanlin.errors import InputError

if TYPE_CHECKING:
    from hanlin.tasks import Model

Kind = TypeVar("Kind", bound="Model")


def expect(model: "Model", kind: type[Kind], *, verb: str, instead: str) -> Kind:
    """Return the model as the kind it must be; raises `InputError` saying what it can do."""
    if isinstance(model, kind):
        return model
    raise InputError(
        f"{model.name} is {model.kind} and cannot {verb}; it can {', '.join(model.can)}. "
        f"Use {instead}."
    )
