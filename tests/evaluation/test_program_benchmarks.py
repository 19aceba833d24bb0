"""Programs that a model writes: the prompts are the harness's, and the tests say what passes."""

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from benchmark_files import WRITTEN, lines
from local_tasks import TASKS, answers, ask, harness_model

import hanlin
from hanlin.data.middle import FORMS
from hanlin.errors import ConfigError
from hanlin.evaluation import sandbox
from hanlin.evaluation.benchmarks import programs, report, run
from hanlin.evaluation.benchmarks.infilling import WRITING, gaps, line_of
from hanlin.evaluation.benchmarks.programs import Programming
from hanlin.tasks import LanguageModel
from hanlin.tasks.coding import prompt_for_middle
from hanlin.tokenizers import train
from tiny_models import CORPUS, byte_tokenizer, decoder, save_decoder


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


# A hidden line


def filling(monkeypatch: pytest.MonkeyPatch, *, both: str, before: str) -> list[list[list[int]]]:
    """Lines that a model writes with both sides of the gap, and with the text before it; what it
    was asked in turn is returned."""
    from hanlin.evaluation.benchmarks import continuations, running
    from hanlin.generation import Generation, Sampling

    asked = list[list[list[int]]]()

    def writes(text: str) -> Any:
        def generate(
            network: Any, tokenizer: Any, prompts: list[Any], sampling: Sampling, **how: Any
        ) -> list[list[Generation]]:
            asked.append(prompts)
            return [[Generation(text, (), "stop")] * sampling.n for _ in prompts]

        return generate

    monkeypatch.setattr(running, "generate", writes(both))
    monkeypatch.setattr(continuations, "generate", writes(before))
    return asked


@pytest.fixture(scope="module")
def filler() -> LanguageModel:
    marks = ("<|endoftext|>", *FORMS[0])
    tokenizer = train(CORPUS, kind="bpe", vocab_size=400, special_tokens=marks)
    return LanguageModel(decoder(tokenizer, max_context=256), tokenizer, name="filler")


TWO_LINES = {
    **PROBLEM,
    "canonical_solution": "    y = 2 * x\n\n    return y\n",
}


def test_every_line_is_hidden_once() -> None:
    task = Programming("t", "def f(x):\n", "    y = x\n\n    return y\n", "check(f)\n", "python")
    first, second = gaps([task])
    assert (first.prompt, first.solution, first.suffix) == (
        "def f(x):", "    y = x", "\n    return y\n",
    )  # fmt: skip
    assert (second.prompt, second.solution, second.suffix) == (
        "def f(x):\n    y = x\n", "    return y", "",
    )  # fmt: skip
    for gap in (first, second):
        assert gap.program(gap.solution).split() == task.program(task.solution).split()


@pytest.mark.usefixtures("confined")
def test_a_line_is_scored_with_both_sides_and_with_one(
    filler: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = lines(tmp_path / "HumanEval.jsonl", [TWO_LINES])
    asked = filling(monkeypatch, both="    y = x + x", before="    return y")
    found = run(filler, "humaneval-infill", file)
    # "y = x + x" passes in the first gap and leaves the second without its return.
    assert found.metrics["pass@1"].value == 0.5
    assert found.metrics["exact_match"].value == 0
    # "return y" is right in the second gap, where it is the authors' line.
    assert found.metrics["pass@1_before"].value == 0.5
    assert found.metrics["exact_match_before"].value == 0.5
    assert [item.answer for item in found.items] == ["    y = 2 * x", "    return y"]
    assert [item.value for item in found.items] == [1, 0]
    both, before = asked
    tokenizer = filler.tokenizer
    assert tokenizer.decode(both[0]) == (
        f"{FORMS[0][0]}{PROBLEM['prompt'][:-1]}{FORMS[0][1]}\n    return y\n{FORMS[0][2]}"
    )
    assert tokenizer.decode(before[0]) == PROBLEM["prompt"][:-1]
    asked = filling(monkeypatch, both="", before="")
    run(filler, "humaneval-infill", file, mode="spm")
    assert tokenizer.decode(asked[0][0]) == (
        f"{FORMS[0][0]}{FORMS[0][1]}\n    return y\n{FORMS[0][2]}{PROBLEM['prompt'][:-1]}"
    )
    with pytest.raises(ConfigError, match="psm or spm"):
        run(filler, "humaneval-infill", file, mode="msp")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="mode would be ignored"):
        run(filler, "humaneval", file, mode="spm")


def test_the_first_line_that_is_not_empty_is_taken() -> None:
    for text in ("\n    x = 1", "    x = 1\n    y = 2\n", "\n \n    x = 1\n"):
        assert line_of(text) == "    x = 1"
    assert line_of("") == line_of("\n  \n") == ""


def test_the_line_break_before_a_line_is_not_its_end() -> None:
    """A model that learnt one text by heart is heard to the end of the line."""
    text = "def f(x):\n    y = 2 * x\n    return y\n"
    tokenizer = byte_tokenizer(chat=False)
    network = decoder(tokenizer)
    ids = torch.tensor([tokenizer.encode(text)])
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(60):
        logits = network(ids[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits[0], ids[0, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    lm = LanguageModel(network.eval(), tokenizer, name="by heart")
    [found] = lm.generate("def f(x):", temperature=0, max_new_tokens=40, **WRITING)
    assert found.text == "\n    y = 2 * x"
    assert found.finish_reason == "stop"


@pytest.mark.usefixtures("confined")
def test_a_model_without_marks_sees_one_side(
    lm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = lines(tmp_path / "HumanEval.jsonl", [TWO_LINES])
    filling(monkeypatch, both="", before="    return y")
    found = run(lm, "humaneval-infill", file)
    assert list(found.metrics) == ["pass@1_before", "exact_match_before"]
    assert "no marks" in found.notes[0]


@pytest.mark.usefixtures("confined")
def test_several_lines_are_drawn(
    filler: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = lines(tmp_path / "HumanEval.jsonl", [TWO_LINES])
    filling(monkeypatch, both="    y = 2 * x", before="")
    found = run(filler, "humaneval-infill", file, samples=10)
    assert found.metrics["pass@10"].value == 0.5
    assert found.metrics["exact_match"].value == 0.5


@pytest.mark.usefixtures("confined")
def test_what_does_not_fit_loses_what_is_farthest_from_the_gap(
    filler: LanguageModel, tmp_path: Path
) -> None:
    marks = ("<|endoftext|>", *FORMS[0])
    tokenizer = train(CORPUS, kind="bpe", vocab_size=260, special_tokens=marks)  # bytes alone
    letters = LanguageModel(decoder(tokenizer), tokenizer, name="letters")
    long = {**TWO_LINES, "prompt": "# words\n" * 200 + PROBLEM["prompt"]}
    found = run(filler, "humaneval-infill", lines(tmp_path / "HumanEval.jsonl", [long]))
    assert set(found.metrics) > {"pass@1", "pass@1_before"}
    assert any("2 of 2 gaps did not fit" in note for note in found.notes), found.notes
    pre, suf, mid = FORMS[0]
    for prefix, suffix, kept in (
        ("a" * 40 + "X", "Y" + "b" * 40, ("aaaaX", "Ybbb")),
        ("a" * 40 + "X", "Y", ("a" * 7 + "X", "Y")),
        ("X", "Y" + "b" * 40, ("X", "Y" + "b" * 7)),
        ("X", "Y", ("X", "Y")),
    ):
        ids = prompt_for_middle(letters, prefix, suffix, room=12)
        assert letters.tokenizer.decode(ids) == f"{pre}{kept[0]}{suf}{kept[1]}{mid}"
        ids = prompt_for_middle(letters, prefix, suffix, mode="spm", room=12)
        assert letters.tokenizer.decode(ids) == f"{pre}{suf}{kept[1]}{mid}{kept[0]}"
