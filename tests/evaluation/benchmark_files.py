"""Small files of each benchmark, and those of the harness's task for the same items."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from local_tasks import TASKS

from tiny_models import CORPUS

WRITTEN = 24
"""Tokens of an answer: the random model never ends one."""


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
