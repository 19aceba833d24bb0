"""Benchmarks on local files: the harness's own tasks on the same items give the same scores."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmark_files import CASES, QUESTIONS, WRITTEN, arc, cmmlu, gsm8k, lines, truthfulqa
from local_tasks import answers, ask, harness_model

import hanlin
from hanlin.errors import ConfigError, FormatError, InputError, NotFoundError
from hanlin.evaluation.benchmarks import TITLES, problems, programs, report, run
from hanlin.evaluation.benchmarks.problems import flexible, strict
from tiny_models import CORPUS, save_decoder, save_encoder

LONG = 512
"""Tokens of context: five examples have to fit."""


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


def test_prompts_that_do_not_fit_lose_their_beginning_as_the_harnesss_do(tmp_path: Path) -> None:
    directory = save_decoder(tmp_path / "short", max_context=64)
    path, yaml, splits = gsm8k(tmp_path)
    result = ask(harness_model(directory), tmp_path, "short", yaml, splits, num_fewshot=2)
    samples = [s for s in result["samples"]["short"] if s["filter"] == "strict-match"]
    want = [s["resps"][0][0] for s in sorted(samples, key=lambda s: s["doc_id"])]
    for batch in (1, 32):
        found = run(directory, "gsm8k", path, shots=2, batch=batch)
        assert [item.given for item in found.items] == want
        assert "5 of 5 prompts did not fit the context of 64 tokens beside 24" in found.notes[0]


def test_an_answer_takes_half_of_a_short_context_and_that_is_told(tmp_path: Path) -> None:
    path, _, _ = gsm8k(tmp_path)
    found = run(save_decoder(tmp_path / "short", max_context=40), "gsm8k", path, shots=0)
    assert "Answers end after 20 tokens, not 24: the context has 40" in found.notes[0]
    assert all(len(item.given) > 0 for item in found.items)


def test_questions_that_do_not_fit_are_counted(lm: Any, tmp_path: Path) -> None:
    path, _, _ = cmmlu(tmp_path)
    found = run(save_decoder(tmp_path / "short", max_context=64), "cmmlu", path)
    assert "7 of 7 questions did not fit" in found.notes[0]
    assert run(lm, "cmmlu", path).notes == ()


def test_rows_are_written_together_as_batch_says(
    lm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"question": f"{text} {n}", "answer": "#### 1"} for n, text in enumerate(CORPUS)]
    file = lines(tmp_path / "test.jsonl", rows)
    made, new_cache = [], lm.network.new_cache
    monkeypatch.setattr(
        lm.network, "new_cache", lambda rows, size: made.append(rows) or new_cache(rows, size)
    )
    run(lm, "gsm8k", file, shots=0, batch=20)
    assert made == [20]
    made.clear()
    run(lm, "gsm8k", file, shots=0, batch=8)
    assert made == [8, 8, 4]


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
    assert "The 3 examples are the first items of the file, which are not asked" in found.notes[0]
    assert run(lm, "arc-challenge", path, limit=4).notes == ()


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
    clean = [item.value for item, same in zip(found.items, known, strict=True) if not same]
    assert found.metrics["right_clean"].value == pytest.approx(np.mean(clean))
    page = report(found).html()
    assert "training.txt" in page
    assert json.loads(report(found).json())
    assert found.to_dict()["contamination"]["touched"] == sum(known)


def test_a_short_question_is_found_whatever_stands_before_its_answer(
    lm: Any, tmp_path: Path
) -> None:
    questions = [
        "Which of these is a liquid at the temperature of rooms?",
        "What do most of the plants need so that they can grow?",
    ]
    rows = [
        {"question": text, "choices": {"text": ["a gas", "water"], "label": ["A", "B"]},
         "answerKey": "B"}
        for text in questions
    ]  # fmt: skip
    path = lines(tmp_path / "test.jsonl", rows)
    training = tmp_path / "training.txt"
    training.write_text(f"Asked: {questions[0]} (A) a gas (B) water", encoding="utf-8")
    found = run(lm, "arc-easy", path, against=training)
    assert found.contamination is not None
    assert found.contamination.shares == (1.0, 0.0)


def test_every_benchmark_of_the_shared_data_is_read(shared_data: Path) -> None:
    from hanlin.evaluation.benchmarks import choice, infilling, last_word

    programming = programs.humaneval(shared_data / "humaneval", limit=None)
    counts = {
        "arc-easy": len(choice.arc(shared_data / "arc/ARC-Easy", shots=0, limit=None)),
        "arc-challenge": len(choice.arc(shared_data / "arc/ARC-Challenge", shots=0, limit=None)),
        "piqa": len(choice.piqa(shared_data / "piqa", shots=0, limit=None)),
        "cmmlu": len(choice.cmmlu(shared_data / "cmmlu", shots=5, limit=None)),
        "truthfulqa": len(choice.truthfulqa(shared_data / "truthfulqa", shots=0, limit=None)),
        "lambada": len(last_word.lambada(shared_data / "lambada", limit=None)),
        "gsm8k": len(problems.gsm8k(shared_data / "gsm8k", shots=5, limit=None)[0]),
        "humaneval": len(programming),
        "humaneval-infill": len(infilling.gaps(programming)),
        "humaneval-js": len(programs.humaneval_js(shared_data / "humaneval_x", limit=None)),
    }
    assert counts == {
        "arc-easy": 2376, "arc-challenge": 1172, "piqa": 1838, "cmmlu": 11582, "truthfulqa": 817,
        "lambada": 5153, "gsm8k": 1314, "humaneval": 164,
        "humaneval-infill": 1033, "humaneval-js": 164,
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
