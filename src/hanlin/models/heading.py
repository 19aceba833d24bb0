"""The same Transformer with another head: its config, as the family's directories describe it.

The fields that belong to a head (a layer before the projection, biases) differ by family; going out
to a config.json and in again sets them as other readers of the directory will.
"""

from collections.abc import Sequence
from typing import Literal

from hanlin.models.config import HeadKind, ModelConfig
from hanlin.models.families import family_of


def with_head(
    config: ModelConfig,
    head: HeadKind,
    *,
    labels: Sequence[str] = (),
    problem: Literal["single", "multiple", "regression"] = "single",
) -> ModelConfig:
    """`config` with another head in the place of its own.

    labels: the names of the classes; problem: classify, one label a text or several. Raises
    `FormatError` where the family has no such head.
    """
    family = family_of(config.family)
    bare = config.with_changes(head=head, labels=tuple(labels), problem=problem, pooler=False)
    made = family.read(family.write(bare))
    kept = {name: getattr(config, name) for name in family.unsaid if name != "lm_head_bias"}
    # A classifier of BERT's kind stands on the pooler, which its family asks for.
    return made.with_changes(pooler=made.pooler and head == "classify", **kept)


def labels_on(
    own: Sequence[str], found: Sequence[str], *, outside: str | None = None
) -> tuple[str, ...]:
    """The labels of a model that goes on with more data: its own in their order, then new ones.

    Data that share no label with it are another task's: theirs alone. outside: a label that every
    task has, which does not count.
    """
    if not (set(own) & set(found)) - {outside} and not set(found) <= set(own):
        return tuple(found)
    return (*own, *(label for label in found if label not in own))
