"""What a training run tells those who watch it: plain records, and the Protocol of a watcher.

The trainer makes them on rank 0 only, in the order ``start``, then ``step``, ``saved``,
``evaluation`` and ``message`` as they come, then ``end``. Importing this does not import torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A run as it stands when its loop begins."""

    output: Path
    """The directory everything is written to."""
    config: Mapping[str, Any]
    """The resolved configuration, as JSON knows it."""
    objective: str
    """Name of the objective."""
    shape: str
    """decoder, encoder or encoder-decoder."""
    parameters: int
    """Numbers that are learnt; tied ones counted once."""
    flops_per_token: float
    """Floating-point operations of one training step (forward and backward) per token read."""
    train_tokens: int
    """Tokens in the training part."""
    train_documents: int
    validation_tokens: int
    """0 where there is no validation part."""
    validation_documents: int
    tokens_per_step: int
    """Tokens read by one step of all ranks, as configured."""
    steps_per_epoch: float
    duration: str
    """As the user wrote it: "2000 steps", "10 minutes"."""
    total_steps: int | None
    """Steps of the whole run; None where minutes decide."""
    start_step: int = 0
    """Steps done before: above 0 in a run that goes on. Records of later steps are void."""
    start_tokens: int = 0
    start_seconds: float = 0.0
    """Training time of earlier parts of this run."""
    device: str = "cpu"
    precision: str = "fp32"
    world: int = 1
    """Processes that train together."""
    peak_flops: float | None = None
    """Operations a second that matrix products reach on this machine in this precision, measured
    before the loop; None where not measured."""
    versions: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """One optimiser step, of all ranks together."""

    step: int
    """Steps done, this one included: the first is 1."""
    tokens: int
    """Tokens read so far, padding included."""
    epoch: float
    """Passes over the training part so far."""
    loss: float
    """Mean per target in nats: the value that was minimised. May be NaN where `skipped`."""
    bits_per_byte: float | None
    """The same loss per UTF-8 byte of the targets; None where that has no meaning."""
    lr: float
    """Learning rate of this step."""
    grad_norm: float
    """Global norm of the gradient before clipping."""
    tokens_per_second: float
    """Over this step alone, all ranks together."""
    share_of_peak: float | None
    """Reached operations over `Plan.peak_flops`, 0 to 1; None where that is unknown."""
    seconds: float
    """Training time so far, of earlier parts of the run too; saves and evaluations left out."""
    progress: float
    """How much of the run is done, 0 to 1."""
    eta_seconds: float | None
    """Time to the end at the present pace; None where unknown."""
    skipped: bool = False
    """The guard dropped this step: no weight was changed."""
    reason: str = ""
    """Why it was skipped."""
    targets: int = 0
    """Targets in this step, of all ranks."""


@dataclass(frozen=True)
class Sample:
    """What the model makes of a prompt at this point."""

    prompt: str
    text: str


@dataclass(frozen=True, kw_only=True)
class EvaluationRecord:
    """A look at the validation part."""

    step: int
    """Steps done."""
    tokens: int
    """Tokens read in training so far."""
    loss: float
    """Mean per target over `targets` targets, in nats."""
    perplexity: float
    """exp(loss)."""
    bits_per_byte: float | None
    """Loss per UTF-8 byte of the targets; None where that has no meaning."""
    seconds: float
    """Training time so far (not what the evaluation took)."""
    samples: tuple[Sample, ...] = ()
    targets: int = 0
    """Targets the loss was taken over."""
    best: bool = False
    """No earlier evaluation of this run had a lower loss."""
    took: float = 0.0
    """Seconds the evaluation took."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """What the task is judged by (accuracy, BLEU ...), by name; empty where nobody judges."""


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What a run gives back."""

    output: Path
    """A model directory once the run is `finished`; before that it holds checkpoints."""
    steps: int
    tokens: int
    train_loss: float
    """Mean per target over the last tenth of the steps, at most a hundred."""
    validation: Mapping[str, float]
    """loss, perplexity, bits_per_byte and the task's metrics of the last evaluation; empty where
    there was none."""
    seconds: float
    """Training time, of all parts of the run."""
    finished: bool = True
    """False where a signal ended the run early; `--resume` goes on."""
    signal: int | None = None
    """The signal that ended it."""

    def as_json(self) -> dict[str, Any]:
        """The same as a dictionary ready for JSON."""
        return {
            "output": str(self.output),
            "steps": self.steps,
            "tokens": self.tokens,
            "train_loss": self.train_loss,
            "validation": dict(self.validation),
            "seconds": self.seconds,
            "finished": self.finished,
        }


class Watcher(Protocol):
    """Shows or keeps what a run tells. It must not change the run, and it is called on rank 0."""

    def start(self, plan: Plan) -> None:
        """The loop begins, or goes on."""
        ...

    def step(self, record: StepRecord) -> None:
        """A step is done."""
        ...

    def evaluation(self, record: EvaluationRecord) -> None:
        """The validation part was looked at."""
        ...

    def saved(self, step: int, path: Path) -> None:
        """A checkpoint lies whole at `path`."""
        ...

    def message(self, text: str) -> None:
        """One line for the person who watches."""
        ...

    def end(self, result: TrainResult) -> None:
        """The loop has ended: finished, or interrupted by a signal. Not called after an error."""
        ...
