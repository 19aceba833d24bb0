"""The sections of a training run's settings, each checked by itself."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from hanlin.config import check, refuse, written_as
from hanlin.config.plain import texts
from hanlin.errors import ConfigError
from hanlin.training.durations import Duration

if TYPE_CHECKING:
    from hanlin.training.objectives import Objective

ObjectiveName = Literal["causal-lm", "masked-lm", "span-corruption", "denoising", "seq2seq"]
SHAPES: dict[ObjectiveName, tuple[str, ...]] = {
    "causal-lm": ("decoder",),
    "masked-lm": ("encoder",),
    "span-corruption": ("encoder-decoder",),
    "denoising": ("encoder-decoder",),
    "seq2seq": ("encoder-decoder",),
}
"""Which shapes of model an objective trains."""


def _read_objective(value: Any) -> Any:
    if isinstance(value, str):
        return {"name": value}
    if not isinstance(value, Mapping) or isinstance(value.get("options"), Mapping):
        return value
    options = {key: item for key, item in value.items() if key != "name"}
    return {**({"name": value["name"]} if "name" in value else {}), "options": options}


def _write_objective(objective: "ObjectiveSettings") -> Any:
    return {"name": objective.name, **objective.options} if objective.options else objective.name


@dataclass(frozen=True, kw_only=True)
class ObjectiveSettings:
    """What the model learns to do: a name, with the fields of that objective beside it."""

    name: ObjectiveName = "causal-lm"
    """causal-lm, masked-lm, span-corruption, denoising or seq2seq."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the objective (`hanlin.training.objectives`), written beside the name."""

    def __post_init__(self) -> None:
        if self.options:
            self.build()

    def build(self) -> "Objective":
        """The objective with its options; raises ConfigError for one that it does not have."""
        from hanlin.training.objectives import OBJECTIVES

        objective, problems = check(self.options, into=OBJECTIVES[self.name])
        refuse(problems)
        assert objective is not None
        return objective


written_as(_read_objective, _write_objective)(ObjectiveSettings)


def _read_data(value: Any) -> Any:
    if isinstance(value, str | list | tuple):
        return {"train": texts(value)}
    if isinstance(value, Mapping):
        out = dict(value)
        for name in ("train", "validation"):
            if name in out:
                out[name] = texts(out[name])
        # A share is no path.
        given = out.get("validation")
        if isinstance(given, int | float) and not isinstance(given, bool):
            out["validation"] = [f"{given * 100:.12g}%"]
        elif "validation" in out and given is None:
            out["validation"] = []
        return out
    return value


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """What is learnt from."""

    train: tuple[str, ...]
    """Files, folders or patterns of text, or directories of token shards."""
    validation: tuple[str, ...] = ("5%",)
    """Kept out of training: a share of the documents such as 5%, or sources of their own; empty for
    no validation."""
    field: str | None = None
    """Which column of a table, or key of a JSON line, holds the text."""
    source: str | None = None
    """seq2seq: the column of what the encoder reads."""
    target: str | None = None
    """seq2seq: the column of what the decoder learns to write."""

    def __post_init__(self) -> None:
        problems = []
        if not self.train:
            problems.append("train names no source. Name files or folders of text.")
        shares = [v for v in self.validation if re.fullmatch(r"\s*[0-9.]+\s*%\s*", v)]
        if shares and len(self.validation) > 1:
            problems.append("validation is a share of the text or a list of sources, not both.")
        elif shares and not 0 < (self.validation_share or 0.0) < 1:
            problems.append(f"validation is {shares[0]}; it must be above 0 % and below 100 %.")
        refuse(problems)

    @property
    def validation_share(self) -> float | None:
        """The share of the training documents that is kept out; None where sources are named."""
        if len(self.validation) != 1 or not self.validation[0].strip().endswith("%"):
            return None
        try:
            return float(self.validation[0].strip().removesuffix("%")) / 100
        except ValueError:
            return None


written_as(_read_data)(DataSettings)


@dataclass(frozen=True, kw_only=True)
class BatchSettings:
    """What one step of the optimiser reads."""

    sequences: int = 32
    """Sequences of a step, over all micro-batches and all processes."""
    length: int = 256
    """Tokens of a sequence."""
    micro: int | None = None
    """Sequences that one process holds in memory at a time; all of its share when not given."""

    def __post_init__(self) -> None:
        refuse(
            [
                f"{name} is {value}; it must be at least 1."
                for name, value in vars(self).items()
                if value is not None and value < 1
            ]
        )
        if self.length < 2:
            raise ConfigError("length is 1; a sequence needs two tokens to have a next one.")
        if self.micro is not None and self.sequences % self.micro:
            raise ConfigError(
                f"micro {self.micro} does not divide sequences {self.sequences}. Choose a divisor."
            )


@dataclass(frozen=True, kw_only=True)
class CheckpointSettings:
    """How often a run is saved, so that it can go on."""

    every: Duration = field(default_factory=lambda: Duration(seconds=600.0))
    """Steps, tokens, epochs or time between two checkpoints."""
    keep: int = 2
    """How many checkpoints stay, the newest first; the one with the lowest validation loss stays
    too."""
    keep_every: int | None = None
    """Those of every so many steps stay as well, for looking back; none when not given."""
    activation: bool = False
    """Keep only each block's input while training and compute the rest again: about a third more
    time for much less memory."""

    def __post_init__(self) -> None:
        if self.keep < 1:
            raise ConfigError(f"keep is {self.keep}; at least one checkpoint must stay.")
        if self.keep_every is not None and self.keep_every < 1:
            raise ConfigError(f"keep_every is {self.keep_every}; it must be at least 1, or null.")


def _read_evaluate(value: Any) -> Any:
    if isinstance(value, str):
        return {"every": value}
    if isinstance(value, Mapping) and "prompts" in value:
        return {**value, "prompts": texts(value["prompts"])}
    return value


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """When the validation part is looked at, and what samples are shown."""

    every: Duration | None = None
    """Steps, tokens, epochs or time between two evaluations; ten over the run when not given. There
    is always one at the end."""
    tokens: int | None = None
    """Look at so many tokens of the validation part at most; None for all of it. The evaluation at
    the end always takes all."""
    prompts: tuple[str, ...] = ()
    """What the model continues at every evaluation (for an encoder: fills in)."""
    samples: int = 1
    """Continuations of each prompt; without prompts, of the beginning of the validation text."""

    def __post_init__(self) -> None:
        problems = []
        if self.tokens is not None and self.tokens < 1:
            problems.append(f"tokens is {self.tokens}; it must be at least 1.")
        if self.samples < 0:
            problems.append(f"samples is {self.samples}; it must not be negative.")
        if self.prompts and self.samples == 0:
            problems.append("prompts have no effect with samples: 0. Remove them.")
        refuse(problems)


written_as(_read_evaluate)(EvaluateSettings)


@dataclass(frozen=True, kw_only=True)
class GuardSettings:
    """What happens when a step's loss or gradient is not a number, or jumps."""

    spike: float | None = 6.0
    """A step whose loss lies so many (robust) standard deviations above the recent ones is skipped;
    null for no such check. A loss or gradient that is not a number is always skipped."""
    window: int = 128
    """How many recent steps those are measured over."""
    patience: int = 10
    """The run stops when so many steps in a row were skipped."""

    def __post_init__(self) -> None:
        problems = []
        if self.spike is not None and self.spike <= 0:
            problems.append(f"spike is {self.spike:g}; it must be above zero, or null.")
        if self.window < 2:
            problems.append(f"window is {self.window}; a deviation needs at least 2 steps.")
        if self.patience < 1:
            problems.append(f"patience is {self.patience}; it must be at least 1.")
        refuse(problems)
