"""Tasks of lm-evaluation-harness over files that a test writes, run without any network."""

import logging
from pathlib import Path
from typing import Any

import pytest

reason = "lm-evaluation-harness is not installed (pip install 'hanlin[harness]')"
lm_eval = pytest.importorskip("lm_eval", reason=reason)
pytest.importorskip("lm_eval.models.huggingface", reason=reason)

TASKS = Path(lm_eval.__file__).parent / "tasks"
"""The harness's own tasks."""


def harness_model(directory: Path, *, batch_size: int = 1) -> Any:
    """transformers' model of a directory, as the harness asks it."""
    from lm_eval.models.huggingface import HFLM

    return HFLM(
        pretrained=str(directory), device="cpu", dtype="float32", batch_size=batch_size,
    )  # fmt: skip


def ask(
    model: Any, folder: Path, task: str, yaml: str, files: dict[str, Path], **settings: Any
) -> dict[str, Any]:
    """Run a task of this YAML over files of JSON lines (split -> file): what the harness gives."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    place = folder / f"task-{task}"
    place.mkdir(exist_ok=True)
    data = "".join(f"    {split}: {file}\n" for split, file in files.items())
    (place / f"{task}.yaml").write_text(
        f"{yaml}\ntask: {task}\ntag: null\ndataset_path: json\ndataset_name: null\n"
        f"dataset_kwargs:\n  cache_dir: {folder / 'cache'}\n  data_files:\n{data}",
        encoding="utf-8",
    )
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    return simple_evaluate(
        model=model,
        tasks=[task],
        task_manager=TaskManager(include_path=str(place), include_defaults=False),
        bootstrap_iters=0,
        log_samples=True,
        confirm_run_unsafe_code=True,
        **settings,
    )


def answers(result: dict[str, Any], task: str) -> list[Any]:
    """What the model answered, item by item: pairs of numbers, or texts."""
    samples = sorted(result["samples"][task], key=lambda sample: sample["doc_id"])
    return [sample["filtered_resps"] for sample in samples]
