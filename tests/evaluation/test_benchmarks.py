"""Benchmarks on local files: the harness's own tasks on the same items give the same scores."""

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from local_tasks import TASKS, answers, ask, harness_model

import hanlin
from hanlin.errors import ConfigError, FormatError, InputError, NotFoundError
from hanlin.evaluation import sandbox
from hanlin.evaluation.benchmarks import TITLES, problems, report, run
from hanlin.evaluation.benchmarks.problems import flexible, strict
from tiny_models import CORPUS, save_decoder, save_encoder

LONG = 512
"""Tokens of context: five examples have to fit."""
WRITTEN = 24
"""Tokens of an answer: the random model never ends one."""


@pytest.fixture(autouse=True)
def _short_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(problems, "MAX_NEW_TOKENS", WRITTEN)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_decoder(tmp_path_factory.mktemp("tiny") / "llama", max_context=LONG)


@pytest.fixture(scope="module")
def lm(directory: Path) -> Any:
    return hanlin.load(directory, dtype="float32")


@pytest.fixture(scope="module")
def theirs(directory: Path) -> Any:
    return harness_model(directory)


def lines(file: Path, rows: list[dict[str, Any]]) -> Path:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    file.write_text(text, encoding="utf-8")
    return file


def table(file: Path, head: list[str], rows: list[list[Any]]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows([head, *rows])
    return file


QUESTIONS = [
    (
        text[:14].strip(),
        [text[14:22].strip(), text[4:9].strip(), "词元", "b"][: 3 + number % 2],
        number % 3,
    )
    for number, text in enumerate(CORPUS[:10])
]
"""Question, options, which is right."""


# The files of each benchmark, and those of the harness's task for the same items.


def arc(folder: Path) -> tuple[Path, str, dict[str, Path]]:
    items = [
        {
            "instruction": f"Please choose the correct answer to the question: {question}\n\n"
            + " ".join(f"Answer{n}: {option}" for n, option in enumerate(options, 1))
            + "\n\nAnswer format: "
            + "/".join(f"answer{n}" for n in range(1, len(options) + 1)),
            "input": "",
            "output": f"the correct answer is answer{right + 1}",
            "answer": f"answer{right + 1}",
        }
        for question, options, right in QUESTIONS
    ]
    file = folder / "test.json"
    file.write_text(json.dumps(items), encoding="utf-8")
    rows = [
        {
            "question": question,
            "choices": {"text": options, "label": list("ABCD")[: len(options)]},
            "answerKey": "ABCD"[right],
        }
        for question, options, right in QUESTIONS
    ]
    yaml = f"include: {TASKS}/arc/arc_easy.yaml\n{BY_SIZE}"
    return file, yaml + unsplit("test"), {"test": lines(folder / "theirs.jsonl", rows)}


def piqa(folder: Path) -> tuple[Path, str, dict[str, Path]]:
    rows = [
        {"goal": question, "sol1": options[0], "sol2": options[1], "label": right % 2}
        for question, options, right in QUESTIONS
    ]
    own = [{k: v for k, v in row.items() if k != "label"} for row in rows]
    lines(folder / "valid.jsonl", own)
    labels = "".join(f"{row['label']}\n" for row in rows)
    (folder / "valid-labels.lst").write_text(labels, encoding="utf-8")
    yaml = f"include: {TASKS}/piqa/piqa.yaml\n{BY_SIZE}" + unsplit("validation")
    return folder, yaml, {"validation": lines(folder / "theirs.jsonl", rows)}


def cmmlu(folder: Path) -> tuple[Path, str, dict[str, Path]]:
    head = ["", "Question", "A", "B", "C", "D", "Answer"]
    zh = ["翰林院", "起草诏书", "什么是词元？", "讲解经典", "外文"]
    rows = [
        [n, f"{zh[n % 5]}的{n}是", zh[n % 4], zh[(n + 1) % 5], str(n), "无", "ABCD"[n % 4]]
        for n in range(12)
    ]
    for split, part in (("dev", rows[:5]), ("test", rows[5:])):
        table(folder / "cmmlu" / split / "agronomy.csv", head, part)
    dicts = [dict(zip(head[1:], row[1:], strict=True)) for row in rows]
    files = {
        "dev": lines(folder / "dev.jsonl", dicts[:5]),
        "test": lines(folder / "test.jsonl", dicts[5:]),
    }
    yaml = f"include: {TASKS}/cmmlu/cmmlu_agronomy.yaml\nnum_fewshot: 5\n"
    return folder / "cmmlu", yaml, files


def lambada(folder: Path) -> tuple[Path, str, dict[str, Path]]:
    rows = [{"text": text[: text.rindex(" ", 0, 70)]} for text in CORPUS[:3]]
    file = lines(folder / "lambada_test.jsonl", rows)
    yaml = f"include: {TASKS}/lambada/lambada_openai.yaml\n" + unsplit("test")
    return file, yaml, {"test": file}


def gsm8k(folder: Path) -> tuple[Path, str, dict[str, Path]]:
    rows = [
        {"question": f"{text[:20]} {n}?", "answer": f"It is <<{n}+1={n + 1}>>.\n#### 1,00{n}"}
        for n, text in enumerate(CORPUS[:7])
    ]
    lines(folder / "train.jsonl", rows[:2])
    test = lines(folder / "test.jsonl", rows[2:])
    yaml = (
        f"include: {TASKS}/gsm8k/gsm8k.yaml\nfewshot_config:\n  sampler: first_n\n"
        'generation_kwargs:\n  until: ["Question:", "</s>", "<|im_end|>"]\n'
        f"  do_sample: false\n  max_gen_toks: {WRITTEN}\n"
    )
    return test, yaml, {"train": folder / "train.jsonl", "test": test}


def truthfulqa(folder: Path) -> tuple[Path, str, dict[str, Path]]:
    head = ["Type", "Category", "Question", "Best Answer", "Correct Answers", "Incorrect Answers"]
    rows = [
        ["x", "c", question, options[0], f"{options[0]}; {options[1]}", f"{options[2]}; never so."]
        for question, options, _ in QUESTIONS
    ]
    file = table(folder / "TruthfulQA.csv", [*head, "Source"], [[*row, "s"] for row in rows])

    def dotted(text: str) -> str:
        return text.strip() if text.strip().endswith(".") else text.strip() + "."

    docs = []
    for question, options, _ in QUESTIONS:
        true = [dotted(options[0]), dotted(options[1])]
        false = [dotted(options[2]), "never so."]
        docs.append(
            {
                "question": question,
                "mc1_targets": {"choices": [true[0], *false], "labels": [1, 0, 0]},
                "mc2_targets": {"choices": [*true, *false], "labels": [1, 1, 0, 0]},
            }
        )
    yaml = f"include: {TASKS}/truthfulqa/truthfulqa_mc2.yaml\n" + unsplit("validation")
    return file, yaml, {"validation": lines(folder / "theirs.jsonl", docs)}


def unsplit(kept: str) -> str:
    """The other splits of a task, which a local copy does not have."""
    names = ("training_split", "validation_split", "test_split")
    return "".join(f"{name}: null\n" for name in names if name != f"{kept}_split")


BY_SIZE = """
metric_list:
  - metric: acc
  - metric: acc_norm
  - metric: acc_bytes
"""
CASES: dict[str, tuple[Callable[[Path], Any], dict[str, str], dict[str, Any]]] = {
    "arc-easy": (
        arc, {"acc": "acc,none", "acc_norm": "acc_norm,none", "acc_bytes": "acc_bytes,none"}, {},
    ),
    "piqa": (
        piqa, {"acc": "acc,none", "acc_norm": "acc_norm,none", "acc_bytes": "acc_bytes,none"}, {},
    ),
    "cmmlu": (cmmlu, {"acc": "acc,none", "acc_norm": "acc_norm,none"}, {}),
    "lambada": (lambada, {"acc": "acc,none", "perplexity": "perplexity,none"}, {}),
    "gsm8k": (
        gsm8k,
        {
            "exact_match_strict": "exact_match,strict-match",
            "exact_match_flexible": "exact_match,flexible-extract",
        },
        {"shots": 2},
    ),
    "truthfulqa": (truthfulqa, {"mc2": "acc,none"}, {}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_scores_are_the_harnesss_on_the_same_items(
    name: str, lm: Any, theirs: Any, tmp_path: Path
) -> None:
    files, metrics, settings = CASES[name]
    path, yaml, splits = files(tmp_path)
    shots = {"num_fewshot": settings["shots"]} if "shots" in settings else {}
    task = f"local_{name.replace('-', '_')}"
    result = ask(theirs, tmp_path, task, yaml, splits, **shots)
    for batch in (1, 32):
        found = run(lm, name, path, batch=batch, **settings)
        for mine, other in metrics.items():
            want = result["results"][task][other]
            assert found.metrics[mine].value == pytest.approx(want, rel=1e-4), (mine, batch)
        assert len(found.items) == len({s["doc_id"] for s in result["samples"][task]})
        if name in ("arc-easy", "piqa", "cmmlu", "truthfulqa"):
            want = [[float(ll) for ll, _ in each] for each in answers(result, task)]
            for item, scores in zip(found.items, want, strict=True):
                assert item.scores == pytest.approx(scores, abs=1e-4)
        elif name == "lambada":
            want = [float(ll) for [[ll, _]] in answers(result, task)]
            assert [item.scores[0] for item in found.items] == pytest.approx(want, abs=1e-4)
        else:
            samples = [s for s in result["samples"][task] if s["filter"] == "strict-match"]
            want = [s["resps"][0][0] for s in sorted(samples, key=lambda s: s["doc_id"])]
            assert [item.given for item in found.items] == want


def test_mc1_is_the_best_answer_against_the_false_ones(lm: Any, tmp_path: Path) -> None:
    file, _, _ = truthfulqa(tmp_path)
    found = run(lm, "truthfulqa", file)
    # Options stand as: true ones, the best of them first, then false ones.
    hits = [item.scores[0] > max(item.scores[2:]) for item in found.items]
    assert found.metrics["mc1"].value == pytest.approx(np.mean(hits))


@pytest.mark.parametrize(
    ("text", "as_strict", "as_flexible"),
    [
        ("so it is\n#### 1,234", "1234", "1234"),
        ("so it costs $1,250.50.", None, "1250.50"),
        ("5 apples and -3 pears", None, "-3"),
        ("#### 7 and then #### 8", "7", "8"),
        ("#### 18.", "18", "18"),
        ("no number", None, None),
    ],
)
def test_numbers_are_taken_out_of_answers(
    text: str, as_strict: str | None, as_flexible: str | None
) -> None:
    assert strict(text) == as_strict
    assert flexible(text) == as_flexible


def test_without_training_problems_the_first_ones_are_the_examples(lm: Any, tmp_path: Path) -> None:
    path, _, _ = gsm8k(tmp_path)
    (tmp_path / "train.jsonl").unlink()
    found = run(lm, "gsm8k", path, shots=2)
    assert len(found.items) == 3
    assert "not asked" in found.notes[0]


def test_examples_before_a_question_are_not_asked(lm: Any, tmp_path: Path) -> None:
    path, _, _ = arc(tmp_path)
    found = run(lm, "arc-challenge", path, shots=3, limit=4)
    assert [item.question for item in found.items] == [q[0] for q in QUESTIONS[3:7]]
    assert found.shots == 3


def test_ai2s_own_files_are_read_too(lm: Any, tmp_path: Path) -> None:
    path, _, splits = arc(tmp_path)
    want = run(lm, "arc-easy", path)
    for rows in (
        [json.loads(line) for line in splits["test"].read_text("utf-8").splitlines()],
        [
            {
                "question": {
                    "stem": question,
                    "choices": [{"text": o, "label": str(n)} for n, o in enumerate(options, 1)],
                },
                "answerKey": str(right + 1),
            }
            for question, options, right in QUESTIONS
        ],
    ):
        found = run(lm, "arc-easy", lines(tmp_path / "ai2.jsonl", rows))
        assert found.metrics["acc"].value == want.metrics["acc"].value
        assert found.items == want.items


def test_subjects_have_their_own_scores(lm: Any, tmp_path: Path) -> None:
    path, _, _ = cmmlu(tmp_path)
    text = (path / "test" / "agronomy.csv").read_text("utf-8")
    (path / "test" / "arts.csv").write_text(text, encoding="utf-8")
    text = (path / "dev" / "agronomy.csv").read_text("utf-8")
    (path / "dev" / "arts.csv").write_text(text, encoding="utf-8")
    found = run(lm, "cmmlu", path, limit=3, shots=1)
    assert list(found.subjects) == ["agronomy", "arts"]
    assert len(found.items) == 6
    mean = np.mean([score.value for score in found.subjects.values()])
    assert found.metrics["acc_subjects"].value == pytest.approx(mean)
    assert "agronomy" in report(found).terminal()


# Programs


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
    from hanlin.generation import Generation

    def generate(prompts: list[str], *, n: int = 1, **_: Any) -> list[Generation]:
        return [Generation(text, (), "stop") for _ in prompts for text in completions[:n]]

    monkeypatch.setattr(lm, "generate", generate)
    return lm


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


@pytest.mark.usefixtures("confined")
def test_the_authors_own_solutions_pass(
    lm: Any, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hanlin.evaluation.benchmarks import programs

    tasks = programs.humaneval(shared_data / "humaneval", limit=12)
    found = programs.judged(tasks, [[task.solution] for task in tasks], seed=0)
    assert found.metrics["pass@1"].value == 1.0
    import shutil

    if shutil.which("node"):
        tasks = programs.humaneval_js(shared_data / "humaneval_x", limit=8)
        found = programs.judged(tasks, [[task.solution] for task in tasks], seed=0)
        assert found.metrics["pass@1"].value == 1.0
        found = programs.judged(tasks, [["  return null\n}\n"] for task in tasks], seed=0)
        assert found.metrics["pass@1"].value == 0.0


# Training text, reports, what cannot be


def test_items_are_looked_for_in_training_text(lm: Any, tmp_path: Path) -> None:
    rows = [
        {"question": text, "choices": {"text": ["yes", "no"], "label": ["A", "B"]},
         "answerKey": "AB"[number % 2]}
        for number, text in enumerate(CORPUS[:5])
    ]  # fmt: skip
    path = lines(tmp_path / "test.jsonl", rows)
    training = tmp_path / "training.txt"
    training.write_text(f"It says: {CORPUS[1]} And so on.", encoding="utf-8")
    found = run(lm, "arc-easy", path, against=training)
    assert found.contamination is not None
    known = [text == CORPUS[1] for text in CORPUS[:5]]
    assert [share > 0 for share in found.contamination.shares] == known
    clean = [item.right for item, same in zip(found.items, known, strict=True) if not same]
    assert found.metrics["right_clean"].value == pytest.approx(np.mean(clean))
    page = report(found).html()
    assert "training.txt" in page
    assert json.loads(report(found).json())
    assert found.to_dict()["contamination"]["touched"] == sum(known)


def test_every_benchmark_of_the_shared_data_is_read(shared_data: Path) -> None:
    from hanlin.evaluation.benchmarks import choice, last_word, problems, programs

    counts = {
        "arc-easy": len(choice.arc(shared_data / "arc/ARC-Easy", shots=0, limit=None)),
        "arc-challenge": len(choice.arc(shared_data / "arc/ARC-Challenge", shots=0, limit=None)),
        "piqa": len(choice.piqa(shared_data / "piqa", shots=0, limit=None)),
        "cmmlu": len(choice.cmmlu(shared_data / "cmmlu", shots=5, limit=None)),
        "truthfulqa": len(choice.truthfulqa(shared_data / "truthfulqa", shots=0, limit=None)),
        "lambada": len(last_word.lambada(shared_data / "lambada", limit=None)),
        "gsm8k": len(problems.gsm8k(shared_data / "gsm8k", shots=5, limit=None)[0]),
        "humaneval": len(programs.humaneval(shared_data / "humaneval", limit=None)),
        "humaneval-js": len(programs.humaneval_js(shared_data / "humaneval_x", limit=None)),
    }
    assert counts == {
        "arc-easy": 2376, "arc-challenge": 1172, "piqa": 1838, "cmmlu": 11582, "truthfulqa": 817,
        "lambada": 5153, "gsm8k": 1314, "humaneval": 164, "humaneval-js": 164,
    }  # fmt: skip
    assert set(counts) == set(TITLES)


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("arc", {}, "Did you mean 'arc-easy'|Choose among"),
        ("piqa", {"limit": 0}, "limit"),
        ("piqa", {"shots": -1}, "shots"),
        ("piqa", {"samples": 2}, "samples would be ignored"),
        ("piqa", {"weak_sandbox": True}, "weak_sandbox would be ignored"),
        ("truthfulqa", {"shots": 1}, "fixed"),
        ("piqa", {"batch": 0}, "batch"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    name: str, settings: dict[str, Any], words: str, lm: Any, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=words):
        run(lm, name, tmp_path, **settings)


def test_files_that_are_not_the_benchmarks_are_refused(lm: Any, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"valid\.jsonl"):
        run(lm, "piqa", tmp_path)
    (tmp_path / "bad.json").write_text("{", encoding="utf-8")
    with pytest.raises(FormatError, match="not JSON"):
        run(lm, "arc-easy", tmp_path / "bad.json")
    with pytest.raises(FormatError, match="no question of ARC"):
        run(lm, "arc-easy", lines(tmp_path / "other.jsonl", [{"a": 1}]))
    with pytest.raises(FormatError, match="no 'answer'"):
        run(lm, "gsm8k", lines(tmp_path / "part.jsonl", [{"question": "x"}]))
    path, _, _ = arc(tmp_path)
    with pytest.raises(InputError, match="Nothing is left"):
        run(lm, "arc-easy", path, shots=10)


def test_only_a_language_model_is_asked(tmp_path: Path) -> None:
    path, _, _ = arc(tmp_path)
    with pytest.raises(InputError, match="asks a language model"):
        run(save_encoder(tmp_path / "bert"), "arc-easy", path)
