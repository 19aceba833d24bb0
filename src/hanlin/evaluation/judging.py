"""How good a model is at its task: `measure` on records, `judge` while it is trained.

One module a task knows its metrics; this one knows which module, and what is loaded for which
objective.
"""

import copy
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hanlin.evaluation.judged import Judged

if TYPE_CHECKING:
    from hanlin.models.transformer import Transformer
    from hanlin.tasks import Model
    from hanlin.tokenizers import Tokenizer

TASKS: dict[str, str] = {
    "classify": "classification",
    "tag": "tagging",
    "extract": "extraction",
    "seq2seq": "writing",
    "instruct": "writing",
    "embed": "embedding",
    "prefer": "preference",
}
"""Task -> the module of this room that measures it."""


def measure(
    model: "Model",
    records: Sequence[Any],
    *,
    task: str,
    metrics: Sequence[str] | None = None,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
    **settings: Any,
) -> Judged:
    """A loaded model on records of a task, as the task's objective reads them.

    metrics: names of those wanted (None: the task's own). seed: of the intervals. settings: of the
    task, such as how a text is decoded. Raises `ConfigError` for a metric that the task does not
    have, `InputError` for records that the model cannot be asked about.
    """
    module = _module(task)
    if TASKS[task] == "writing":
        settings["metrics"] = metrics  # they take long, so only those wanted are computed
    judged: Judged = module.measure(model, records, seed=seed, progress=progress, **settings)
    return judged.only(metrics)


def usable(model: "Model", records: Sequence[Any], *, task: str, **settings: Any) -> list[bool]:
    """Which of the records the model can be asked about, before any is: some are too long for it.

    settings: of the task, as for `measure`. Raises `InputError` for a model of another kind, and
    for records that are none of this model's.
    """
    found: list[bool] = _module(task).usable(model, records, **settings)
    return found


def judge(
    network: "Transformer", tokenizer: "Tokenizer", objective: Any, records: Sequence[Any]
) -> Mapping[str, float]:
    """The metrics of a task's model while it is trained, by name; none of what is no task.

    A `hanlin.training.judging.Judge`. Texts are written greedily, which is quick; the numbers of
    `hanlin evaluate` are those of the model's own decoding. What the objective measures by itself
    (`Prefer.measures`) comes with the validation loss, and is not asked for here.
    """
    if objective.name not in TASKS or not records:
        return {}
    module = _module(objective.name)
    if network.device.type != "cpu":
        network = copy.deepcopy(network).to("cpu")  # loaded models read and answer there
    training = network.training
    network.eval()
    try:
        found: Mapping[str, float] = module.glance(network, tokenizer, objective, records)
    finally:
        network.train(training)
    return found


def _module(task: str) -> Any:
    return importlib.import_module(f"hanlin.evaluation.{TASKS[task]}")
