"""Programs that a model writes: the prompts are the harness's, and the tests say what passes."""

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from benchmark_files import WRITTEN, lines
from local_tasks import TASKS, answers, ask, harness_model

import hanlin
from hanlin.errors import ConfigError
from hanlin.evaluation import sandbox
from hanlin.evaluation.benchmarks import programs, report, run
from tiny_models import CORPUS, save_decoder


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_decoder(tmp_path_factory.mktemp("tiny") / "llama")


@pytest.fixture(scope="module")
def lm(directory: Path) -> Any:
    return hanlin.load(directory, dtype="float32")


PROBLEM = {
    "task_id": "test/0",
    "prompt": 'def double(x):\n    """Twice x."""\n',
    "canonical_solution": "    return 2 * x\n",
    "test": "def check(f):\n    assert f(2) == 4\n    assert f('a') == 'aa'\n",
    "entry_point": "double",
}


@pytest.fixture
def confined() -> None:
    try:
        sandbox.check("python", weak=False)
    except ConfigError as error:
        pytest.skip(str(error))


def writing(lm: Any, monkeypatch: pytest.MonkeyPatch, *completions: str) -> Any:
    """The model, made to write these, one a sample."""
    from hanlin.evaluation.benchmarks import continuations
    from hanlin.generation import Generation, Sampling

    def generate(
        network: Any, tokenizer: Any, prompts: list[Any], sampling: Sampling, **how: Any
    ) -> list[list[Generation]]:
        texts = completions[: sampling.n]
        return [[Generation(text, (), "stop") for text in texts] for _ in prompts]

    monkeypatch.setattr(continuations, "generate", generate)
    return lm


def test_completions_are_the_harnesss(
    lm: Any, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its own task cannot be loaded without a network: it fetches a metric. Its settings are read.
    class Task(yaml.SafeLoader):
        pass

    Task.add_multi_constructor("!function", lambda *_: None)
    task = yaml.load((TASKS / "humaneval/humaneval.yaml").read_text("utf-8"), Task)
    settings = task["generation_kwargs"]
    assert tuple(settings["until"]) == programs.STOPS["python"]
    assert settings["max_gen_toks"] == programs.MAX_NEW_TOKENS
    kept = {key: task[key] for key in ("output_type", "test_split", "doc_to_text", "doc_to_target")}
    kept["generation_kwargs"] = {**settings, "max_gen_toks": WRITTEN}
    rows = [
        {**PROBLEM, "prompt": f"def f{n}(x):\n    # {text}\n", "task_id": str(n)}
        for n, text in enumerate(CORPUS[:6])
    ]
    file = lines(tmp_path / "HumanEval.jsonl", rows)
    result = ask(
        harness_model(directory), tmp_path, "completions", yaml.safe_dump(kept), {"test": file}
    )

    def finished(programs: list[str], **_: Any) -> list[sandbox.Outcome]:
        return [sandbox.Outcome("finished", "", 0.0) for _ in programs]

    monkeypatch.setattr(programs, "MAX_NEW_TOKENS", WRITTEN)
    monkeypatch.setattr(programs, "run_all", finished)  # what is written is not to be run
    monkeypatch.setattr("hanlin.evaluation.benchmarks.running.check", lambda *_, **__: None)
    found = run(lm, "humaneval", file)
    assert [item.given for item in found.items] == [
        text for [text] in answers(result, "completions")
    ]


@pytest.mark.usefixtures("confined")
def test_a_program_passes_when_its_tests_do(
    lm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "HumanEval.jsonl.gz"
    file.write_bytes(gzip.compress((json.dumps(PROBLEM) + "\n").encode()))
    right, wrong = "    return x + x\n", "    return 4\n"
    found = run(writing(lm, monkeypatch, right), "humaneval", tmp_path)
    assert found.metrics["pass@1"].value == 1
    found = run(writing(lm, monkeypatch, wrong), "humaneval", file)
    assert found.metrics["pass@1"].value == 0
    assert "AssertionError" in found.items[0].given
    found = run(writing(lm, monkeypatch, "    import os; os._exit(0)\n"), "humaneval", file)
    assert found.metrics["pass@1"].value == 0
    assert "1 quit" in found.notes[0]


@pytest.mark.usefixtures("confined")
def test_pass_at_k_is_the_unbiased_estimate(
    lm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = lines(tmp_path / "HumanEval.jsonl", [PROBLEM])
    texts = ["    return 4\n"] * 9 + ["    return 2 * x\n"] * 3
    found = run(writing(lm, monkeypatch, *texts), "humaneval", file, samples=12)
    assert found.metrics["pass@1"].value == pytest.approx(3 / 12)
    # 1 - C(9, 10) / C(12, 10): of ten of these twelve at least one is right.
    assert found.metrics["pass@10"].value == pytest.approx(1.0)
    assert "pass@100" not in found.metrics
    told = {
        part["title"]["en"]: part for part in report(found).data()["parts"] if part.get("title")
    }
    assert len(told["Right in some samples"]["rows"]) == 1
    assert not told["Wrong answers"]["rows"]


@pytest.mark.usefixtures("confined")
def test_the_score_of_clean_programs_is_pass_at_1(
    lm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = " ".join(f"word{n}" for n in range(20))
    seen = {**PROBLEM, "prompt": f'def double(x):\n    """Twice x. {words}"""\n'}
    file = lines(tmp_path / "HumanEval.jsonl", [PROBLEM, seen])
    training = tmp_path / "training.txt"
    training.write_text(f"It reads: {words}.", encoding="utf-8")
    texts = ["    return 4\n"] * 3 + ["    return 2 * x\n"]
    model = writing(lm, monkeypatch, *texts)
    found = run(model, "humaneval", file, samples=4, against=training)
    assert [item.value for item in found.items] == [0.25, 0.25]
    assert found.metrics["right_clean"].value == pytest.approx(0.25)


@pytest.mark.usefixtures("confined")
def test_the_authors_own_solutions_pass(
    lm: Any, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = programs.humaneval(shared_data / "humaneval", limit=12)
    found = programs.judged(tasks, [[task.solution] for task in tasks], seed=0)
    assert found.metrics["pass@1"].value == 1.0
    if shutil.which("node"):
        tasks = programs.humaneval_js(shared_data / "humaneval_x", limit=8)
        found = programs.judged(tasks, [[task.solution] for task in tasks], seed=0)
        assert found.metrics["pass@1"].value == 1.0
        found = programs.judged(tasks, [["  return null\n}\n"] for task in tasks], seed=0)
        assert found.metrics["pass@1"].value == 0.0
