"""Multiple choice beside lm-evaluation-harness: the same questions, weights and numbers.

    python benchmarks/choices.py DATA [--items 100] [--rounds 3] [--batches 1 8 32]

DATA is the folder of local benchmarks (arc/ARC-Easy, piqa, cmmlu). Both score every option of the
same questions with SmolLM2-135M-Instruct in float32: the harness with its own `hf` model at each of
the batch sizes, of which the fastest counts. Loading is not timed. Needs the `dev` extra.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np


def main() -> None:
    """Time both in turns and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--items", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sets", nargs="+", default=["arc-easy", "piqa", "cmmlu"])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    asked = parser.parse_args()

    from lm_eval.models.huggingface import HFLM

    import hanlin
    from hanlin.evaluation.benchmarks import choice
    from hanlin.evaluation.benchmarks.options import score_options
    from hanlin.models import load
    from hanlin.models.directory import save_directory
    from hanlin.models.named import pull
    from hanlin.tokenizers import Tokenizer

    some = asked.items
    sets = {
        "arc-easy": choice.arc(asked.data / "arc/ARC-Easy", shots=0, limit=some),
        "piqa": choice.piqa(asked.data / "piqa", shots=0, limit=some),
        "cmmlu": choice.cmmlu(asked.data / "cmmlu", shots=5, limit=None)[:some],
    }
    gguf = pull("smollm2-135m")
    lm = hanlin.load(gguf, dtype="float32")
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "model"
        save_directory(load(gguf, dtype="float32"), saved, tokenizer=Tokenizer.load(gguf))
        peers = {
            size: HFLM(pretrained=str(saved), device="cpu", dtype="float32", batch_size=size)
            for size in asked.batches
        }

    def ours(questions: list[Any]) -> list[float]:
        found = score_options(lm, [question.choice for question in questions])
        return [one.log_likelihood for each in found for one in each]

    def theirs(questions: list[Any], size: int) -> list[float]:
        pairs = [(q.choice.text, option) for q in questions for option in q.choice.options]
        requests = [SimpleNamespace(args=pair) for pair in pairs]
        return [value for value, _ in peers[size].loglikelihood(requests, disable_tqdm=True)]

    for name in asked.sets:
        questions = sets[name]
        ours(questions[:8])
        for size in asked.batches:
            theirs(questions[:8], size)
        times: dict[str, list[float]] = {}
        for _ in range(asked.rounds):
            begin = time.perf_counter()
            mine = ours(questions)
            times.setdefault("hanlin", []).append(time.perf_counter() - begin)
            for size in asked.batches:
                begin = time.perf_counter()
                other = theirs(questions, size)
                times.setdefault(f"batch {size}", []).append(time.perf_counter() - begin)
        apart = float(np.abs(np.subtract(mine, other)).max())
        medians = {what: statistics.median(each) for what, each in times.items()}
        own = medians.pop("hanlin")
        best = min(medians, key=lambda what: medians[what])
        told = ", ".join(f"{what} {seconds:.2f} s" for what, seconds in medians.items())
        print(
            f"{name} ({len(questions)} items): hanlin {own:.2f} s; the harness {told}; "
            f"{medians[best] / own:.2f} times its fastest; greatest difference {apart:.1e}",
            flush=True,
        )


if __name__ == "__main__":
    main()
