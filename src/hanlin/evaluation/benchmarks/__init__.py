"""Benchmarks of the field on local copies: what is asked, how it is scored, what came of it.

Prompts and scores are those of lm-evaluation-harness, which the tests compare them with. Everything
here is imported when it is first used.
"""

from typing import TYPE_CHECKING

from hanlin.lazy import names_of

if TYPE_CHECKING:
    from hanlin.evaluation.benchmarks.page import report
    from hanlin.evaluation.benchmarks.result import Answered, BenchmarkResult
    from hanlin.evaluation.benchmarks.running import run

__all__ = ["TITLES", "Answered", "BenchmarkResult", "report", "run"]

TITLES: dict[str, tuple[str, str]] = {
    "arc-easy": ("ARC easy, questions of science", "ARC 简单集：科学选择题"),
    "arc-challenge": ("ARC challenge, questions of science", "ARC 挑战集：科学选择题"),
    "piqa": ("PIQA, physical common sense", "PIQA：物理常识"),
    "cmmlu": ("CMMLU, Chinese examinations", "CMMLU：中文考试题"),
    "truthfulqa": ("TruthfulQA, MC1 and MC2", "TruthfulQA：MC1 与 MC2"),
    "lambada": ("LAMBADA, the last word", "LAMBADA：末词预测"),
    "gsm8k": ("GSM8K, word problems", "GSM8K：算术应用题"),
    "humaneval": ("HumanEval, Python from its docstring", "HumanEval：由说明写 Python"),
    "humaneval-infill": ("HumanEval, a hidden line filled in", "HumanEval：补出隐去的一行"),
    "humaneval-js": ("HumanEval-X, JavaScript", "HumanEval-X：JavaScript"),
}
"""The benchmarks there are, each in English and Chinese."""

__getattr__ = names_of(
    __name__,
    {
        "Answered": "result",
        "BenchmarkResult": "result",
        "report": "page",
        "run": "running",
    },
)
