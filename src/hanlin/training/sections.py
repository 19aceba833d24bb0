"""The sections of a training run's settings, each checked by itself."""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

from hanlin.config import check, refuse, written_as
from hanlin.config.plain import texts
from hanlin.errors import ConfigError, nearest
from hanlin.models.lora.settings import LoraSettings
from hanlin.training.durations import Duration

if TYPE_CHECKING:
    from hanlin.training.objectives import Objective

ObjectiveName = Literal[
    "causal-lm",
    "masked-lm",
    "span-corruption",
    "denoising",
    "seq2seq",
    "classify",
    "tag",
    "extract",
    "distil",
    "embed",
    "instruct",
    "prefer",
]
SHAPES: dict[ObjectiveName, tuple[str, ...]] = {
    "causal-lm": ("decoder",),
    "masked-lm": ("encoder",),
    "span-corruption": ("encoder-decoder",),
    "denoising": ("encoder-decoder",),
    "seq2seq": ("encoder-decoder", "decoder"),
    "classify": ("encoder", "decoder", "encoder-decoder"),
    "tag": ("encoder", "decoder"),
    "extract": ("encoder",),
    "distil": ("decoder", "encoder", "encoder-decoder"),
    "embed": ("encoder", "decoder"),
    "instruct": ("decoder",),
    "prefer": ("decoder",),
}
"""Which shapes of model an objective trains."""
ON_TEXT: tuple[ObjectiveName, ...] = (
    "causal-lm",
    "masked-lm",
    "span-corruption",
    "denoising",
)
"""Objectives that learn from tokens; all others learn from records."""
LABELLING: tuple[ObjectiveName, ...] = ("classify", "tag", "extract", "embed")
"""Objectives whose models write no text, so that no samples of it can be shown."""


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
    """causal-lm, masked-lm, span-corruption, denoising, or a task: seq2seq, classify, tag,
    extract."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the objective (`hanlin.training.objectives`), written beside the name."""

    def __post_init__(self) -> None:
        if self.options:
            self.build()

    @property
    def task(self) -> str | None:
        """The name of what is learnt, whoever teaches it; None where only the teacher says."""
        if self.name != "distil":
            return self.name
        given = self.options.get("of")
        if isinstance(given, Mapping):
            given = given.get("name")
        return given if isinstance(given, str) else None

    def build(self) -> "Objective":
        """The objective with its options; raises ConfigError for one that it does not have."""
        from hanlin.training.objectives import OBJECTIVES

        objective, problems = check(self.options, into=OBJECTIVES[self.name])
        refuse(problems)
        assert objective is not None
        return objective


written_as(_read_objective, _write_objective)(ObjectiveSettings)


def _read_replay(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    out = dict(value)
    if "sources" in out:
        out["sources"] = texts(out["sources"])
    share = out.get("share")
    if isinstance(share, str) and share.strip().endswith("%"):
        try:
            out["share"] = float(share.strip().removesuffix("%")) / 100
        except ValueError:
            return out
    return out


@dataclass(frozen=True, kw_only=True)
class ReplaySettings:
    """Old examples between the new ones, so that less is forgotten."""

    sources: tuple[str, ...]
    """What was learnt from before: files and folders as in train, or a directory of token
    shards."""
    share: float = 0.1
    """Of all examples that an epoch reads, so many are old: 10%."""

    def __post_init__(self) -> None:
        problems = []
        if not self.sources:
            problems.append("sources names no source. Name files or folders of the old text.")
        if not 0 < self.share < 1:
            problems.append(f"share is {self.share:.2%}; it must be above 0 % and below 100 %.")
        refuse(problems)


written_as(_read_replay)(ReplaySettings)


def _read_data(value: Any) -> Any:
    if isinstance(value, str | list | tuple):
        return {"train": texts(value)}
    if isinstance(value, Mapping):
        out = dict(value)
        for name in ("train", "validation"):
            if name in out and isinstance(out[name], Mapping):
                # One file (or several) for each label.
                named = {label: texts(files) for label, files in out[name].items()}
                labels = {str(file): str(label) for label, files in named.items() for file in files}
                out["file_labels"] = {**(out.get("file_labels") or {}), **labels}
                out[name] = [file for files in named.values() for file in files]
            elif name in out:
                out[name] = texts(out[name])
        if isinstance(out.get("columns"), Mapping):
            out["columns"] = {
                role: str(column) if isinstance(column, int) and column is not True else column
                for role, column in out["columns"].items()
            }
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
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)  # field is a column here
    """Tasks: which column of a table plays which part (text, label ...), by name or, where the
    table has no header, by number from 1; found by their usual names where not given."""
    file_labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """classify: the label of every line of a file, for data with a file for each label; written
    shorter as `train: {positive: pos.txt, negative: neg.txt}`."""
    replay: ReplaySettings | None = None
    """Old data mixed into the new, so that less is forgotten: {sources: [...], share: 10%}."""
    skip_bad: bool = False
    """Tasks: leave rows out that cannot be used, and go on; otherwise they are an error."""

    def __post_init__(self) -> None:
        problems = []
        if not self.train:
            problems.append("train names no source. Name files or folders of text.")
        shares = [v for v in self.validation if re.fullmatch(r"\s*[0-9.]+\s*%\s*", v)]
        if shares and len(self.validation) > 1:
            problems.append("validation is a share of the text or a list of sources, not both.")
        elif shares and not 0 < (self.validation_share or 0.0) < 1:
            problems.append(f"validation is {shares[0]}; it must be above 0 % and below 100 %.")
        named = {*self.train, *self.validation, *(self.replay.sources if self.replay else ())}
        problems += [
            f"file_labels names {file}, which is no source.{nearest(file, sorted(named))}"
            for file in self.file_labels
            if file not in named
        ]
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
    tokens: int | None = None
    """Instead of `sequences`: as many as have so many tokens, padding included, where examples have
    lengths of their own. Like lengths come together, so that little is padded."""
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
        if self.tokens is not None and (self.sequences != 32 or self.micro is not None):
            raise ConfigError(
                "tokens says how large a step is, so sequences and micro would have no effect. "
                "Remove them, or tokens."
            )
        if self.length < 2:
            raise ConfigError("length is 1; a sequence needs two tokens to have a next one.")
        if self.micro is not None and self.sequences % self.micro:
            raise ConfigError(
                f"micro {self.micro} does not divide sequences {self.sequences}. Choose a divisor."
            )


def _read_method(value: Any) -> Any:
    if isinstance(value, str):
        return {"kind": value}
    if isinstance(value, Mapping) and value.get("targets") not in (None, "all-linear"):
        return {**value, "targets": texts(value["targets"])}
    return value


def _write_method(method: "MethodSettings") -> Any:
    return method.kind if method.kind == "full" else {"kind": method.kind} | vars(method)


@dataclass(frozen=True, kw_only=True)
class MethodSettings(LoraSettings):
    """Which weights are trained: all of them, or a low-rank addition to some (Hu et al. 2021)."""

    kind: Literal["full", "lora"] = "full"
    """full: every weight; lora: two narrow matrices beside each chosen layer, which take a fraction
    of the memory and of the disk."""

    def problems(self) -> list[str]:
        """What is wrong with them."""
        problems = super().problems()
        if self.kind == "full":
            changed = [
                f.name
                for f in fields(self)
                if f.name != "kind" and getattr(self, f.name) != f.default
            ]
            if changed:
                problems.append(
                    f"{', '.join(changed)} has no effect with kind full. Set kind: lora, or remove "
                    "it."
                )
        return problems


written_as(_read_method, _write_method)(MethodSettings)


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
    if not isinstance(value, Mapping):
        return value
    out = dict(value)
    if "prompts" in out:
        out["prompts"] = texts(out["prompts"])
    if isinstance(out.get("remember"), Mapping):
        out["remember"] = {name: texts(sources) for name, sources in out["remember"].items()}
    return out


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """When the validation part is looked at, and what samples are shown."""

    every: Duration | None = None
    """Steps, tokens, epochs or time between two evaluations; ten over the run when not given. There
    is always one at the end."""
    start: bool = False
    """Look before the first step too: what the model that it begins as can do already."""
    tokens: int | None = None
    """Look at so many tokens of the validation part at most; None for all of it. The evaluation at
    the end always takes all."""
    prompts: tuple[str, ...] = ()
    """What the model continues at every evaluation (for an encoder: fills in)."""
    samples: int = 1
    """Continuations of each prompt; without prompts, of the beginning of the validation text."""
    remember: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Old held-out text by name, {wiki: old/test.txt}: at the end the model is compared on it with
    the model that it began as, and what was forgotten is reported."""

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
