"""TensorBoard, for who asks for it: the scalars and samples in its event files.

Needs the extra ``track``. TensorBoard's writer costs as much as a small step, so at most two points
a second go there; ``metrics.jsonl`` has all of them.
"""

import importlib.util
import time
from pathlib import Path
from typing import Any

from hanlin.errors import ConfigError
from hanlin.training.events import EvaluationRecord, Plan, StepRecord, TrainResult

_FOLDER = "tensorboard"
_STEP_FIELDS = {
    "loss": "train/loss",
    "bits_per_byte": "train/bits_per_byte",
    "lr": "train/lr",
    "grad_norm": "train/grad_norm",
    "tokens_per_second": "speed/tokens_per_second",
    "share_of_peak": "speed/share_of_peak",
}


class Board:
    """Writes event files to the run's folder ``tensorboard``, scalars every `every` seconds."""

    def __init__(self, *, every: float = 0.5) -> None:
        if importlib.util.find_spec("tensorboard") is None:
            raise ConfigError(
                "track: tensorboard needs the library tensorboard. Install it: "
                "pip install 'hanlin[track]', or remove the setting."
            )
        self._writer: Any = None
        self._every = every
        self._next = 0.0

    def start(self, plan: Plan) -> None:
        """Open the folder; points of steps that will come again are marked void."""
        from torch.utils.tensorboard import SummaryWriter

        folder = str(plan.output / _FOLDER)
        again = plan.start_step + 1 if plan.start_step else None
        self._writer = SummaryWriter(folder, purge_step=again)

    def step(self, record: StepRecord) -> None:
        """Write the scalars of the step if it is time."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + self._every
        for name, tag in _STEP_FIELDS.items():
            if (value := getattr(record, name)) is not None:
                self._writer.add_scalar(tag, value, record.step)

    def evaluation(self, record: EvaluationRecord) -> None:
        """Write the scalars and samples."""
        self._writer.add_scalar("validation/loss", record.loss, record.step)
        self._writer.add_scalar("validation/perplexity", record.perplexity, record.step)
        if record.bits_per_byte is not None:
            self._writer.add_scalar("validation/bits_per_byte", record.bits_per_byte, record.step)
        for name, value in record.metrics.items():
            self._writer.add_scalar(f"validation/{name}", value, record.step)
        for i, sample in enumerate(record.samples):
            text = f"    {(sample.prompt + sample.text).replace(chr(10), chr(10) + '    ')}"
            self._writer.add_text(f"sample/{i}", text, record.step)

    def saved(self, step: int, path: Path) -> None:
        """Hand everything to the disk with the checkpoint."""
        self._writer.flush()

    def message(self, text: str) -> None:
        """Nothing: TensorBoard has no place for it."""

    def end(self, result: TrainResult) -> None:
        """Close the files."""
        self._writer.close()
