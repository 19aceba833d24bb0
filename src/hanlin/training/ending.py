"""The end of a run: what the validation part decides, what is remembered, the model's files."""

from collections.abc import Callable, Mapping
from typing import Any

from hanlin.config import to_plain
from hanlin.data.examples import Examples
from hanlin.data.loader import Loader
from hanlin.models.directory import read_json
from hanlin.models.named import resolve
from hanlin.models.transformer import Transformer
from hanlin.provenance import record
from hanlin.training.calibration import calibrate
from hanlin.training.config import TrainConfig
from hanlin.training.corpus import Corpus
from hanlin.training.events import TrainResult
from hanlin.training.finishing import write_model
from hanlin.training.objectives import Extract, Objective, on_records
from hanlin.training.span_scores import fit_threshold

Tell = Callable[[str], None]
_ROWS = 32  # texts of a batch that is read once more


def leave_model(
    network: Transformer,
    settings: TrainConfig,
    *,
    objective: Objective,
    learnt: Objective,
    corpus: Corpus,
    examples: Examples,
    held: Examples | None,
    result: TrainResult,
    parents: Mapping[str, str],
    length: int | None,
    tell: Tell,
) -> None:
    """Write the directory of a finished run: `network` whole, how it was made, what it is for.

    learnt: the task, where `objective` teaches it to a student. examples: of the training part,
    without old ones; held: of the validation part; length: what `learnt_length` said when the run
    began. Raises what `write_model` raises.
    """
    task: dict[str, Any] = {"name": learnt.name}
    if length is not None:
        task["length"] = length
    if on_records(learnt):
        task |= learnt.remember(corpus.records)
    if held is not None and learnt.name == "classify":
        looking = Loader(held, objective.collate, sequences=_ROWS, seed=settings.seed)
        calibration = calibrate(network, looking.once())
        task["calibration"] = calibration.to_dict()
        tell(str(calibration))
    if isinstance(learnt, Extract) and isinstance(corpus.validation, list):
        fitted = fit_threshold(
            network,
            corpus.tokenizer,
            corpus.validation,
            length=length,
            stride=learnt.stride,
            max_answer=learnt.max_answer,
        )
        if fitted is not None:
            task["threshold"] = fitted.margin
            tell(str(fitted))
    made = record(
        config=to_plain(settings),
        parents=dict(parents),
        data=dict(corpus.hashes),
    )
    results = {k: v for k, v in result.as_json().items() if k != "output"}
    decoding = getattr(learnt, "decoding", None)
    files = getattr(learnt, "files", None)
    lora = settings.method.kind == "lora"
    write_model(
        network,
        settings.output,
        tokenizer=corpus.tokenizer,
        provenance={"task": task, "provenance": made, "results": results},
        base=str(settings.model) if lora else None,
        generation=None if decoding is None else decoding(examples),
        files=None if files is None else files(network.config, length=settings.batch.length),
    )


def learnt_length(settings: TrainConfig) -> int | None:
    """Tokens of the longest sequence that the model has learnt from, where it was drawn from
    nothing, in this run or before: what it makes of later positions is noise. None of a published
    model, which knows how much it reads."""
    if not isinstance(settings.model, str):
        return settings.batch.length
    file = resolve(settings.model) / "hanlin.json"
    task = read_json(file).get("task") if file.is_file() else None
    before = task.get("length") if isinstance(task, dict) else None
    return max(before, settings.batch.length) if isinstance(before, int) else None
