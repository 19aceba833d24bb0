"""Reading a prompt and decoding, beside transformers: one process, interleaved, after a warm-up.

    python benchmarks/generation.py [--rounds 5] [--prompt-tokens 512] [--new-tokens 128] [--json]

Both libraries run SmolLM2-135M-Instruct from the same GGUF file, one sequence, greedy, on the same
threads. transformers runs in float32 and in bfloat16; the ratio is to the better of the two. Needs
the `dev` extra and `hanlin pull smollm2-135m`.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import transformers

import hanlin
from hanlin.generation import Sampling, generate
from hanlin.models.named import pull

Measure = Callable[[], float]


def ours(new_tokens: int, prompt: list[int]) -> tuple[Measure, Measure]:
    """Seconds to decode `new_tokens`, and to read the prompt to its first token, with hanlin."""
    lm = hanlin.load("smollm2-135m")

    def run(tokens: int, ids: list[int]) -> float:
        settings = Sampling(temperature=0.0, max_new_tokens=tokens, ignore_eos=True)
        start = time.perf_counter()
        (result,) = generate(lm.network, lm.tokenizer, [ids], settings)[0]
        seconds = time.perf_counter() - start
        assert len(result.tokens) == tokens
        return seconds

    return lambda: run(new_tokens, prompt[:8]), lambda: run(1, prompt)


def theirs(dtype: torch.dtype, new_tokens: int, prompt: list[int]) -> tuple[Measure, Measure]:
    """The same with transformers' generate."""
    path = pull("smollm2-135m")
    model = transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=dtype
    ).eval()

    def run(tokens: int, ids: list[int]) -> float:
        batch = torch.tensor([ids])
        mask = torch.ones_like(batch)
        options: dict[str, Any] = {"do_sample": False, "pad_token_id": 0}
        options |= {"max_new_tokens": tokens, "min_new_tokens": tokens}
        start = time.perf_counter()
        with torch.inference_mode():
            out = model.generate(batch, attention_mask=mask, **options)
        seconds = time.perf_counter() - start
        assert out.shape[1] == len(ids) + tokens
        return seconds

    return lambda: run(new_tokens, prompt[:8]), lambda: run(1, prompt)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--new-tokens", type=int, default=128)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()

    torch.manual_seed(0)
    prompt = torch.randint(0, 49_000, (options.prompt_tokens,)).tolist()
    runners = {
        "hanlin": ours(options.new_tokens, prompt),
        "transformers float32": theirs(torch.float32, options.new_tokens, prompt),
        "transformers bfloat16": theirs(torch.bfloat16, options.new_tokens, prompt),
    }
    tokens = {"decode": options.new_tokens, "prompt": options.prompt_tokens}
    seconds: dict[str, dict[str, list[float]]] = {
        name: {"decode": [], "prompt": []} for name in runners
    }
    for round_ in range(options.rounds + 1):
        for name, (decode, read) in runners.items():
            decoded, was_read = decode(), read()
            if round_:  # the first round is the warm-up
                seconds[name]["decode"].append(decoded)
                seconds[name]["prompt"].append(was_read)

    rows = {
        name: {kind: tokens[kind] / statistics.median(times) for kind, times in kinds.items()}
        for name, kinds in seconds.items()
    }
    best = {
        kind: max((rows[name][kind], name) for name in rows if name != "hanlin") for kind in tokens
    }
    pairs = {
        kind: [
            b / a
            for a, b in zip(seconds["hanlin"][kind], seconds[best[kind][1]][kind], strict=True)
        ]
        for kind in tokens
    }
    ratios = {kind: statistics.median(values) for kind, values in pairs.items()}
    spread = {kind: (min(values), max(values)) for kind, values in pairs.items()}
    if options.json:
        print(json.dumps({"tokens_per_second": rows, "ratio": ratios, "spread": spread}))
        return
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
          f"{torch.get_num_threads()} threads, torch {torch.__version__}, "
          f"transformers {transformers.__version__}")  # fmt: skip
    print(f"{'':24}{'decode tok/s':>14}{'prompt tok/s':>14}")
    for name, row in rows.items():
        print(f"{name:24}{row['decode']:14.1f}{row['prompt']:14.0f}")
    print(f"{'ratio to their better':24}{ratios['decode']:14.2f}{ratios['prompt']:14.2f}")
    for kind in tokens:
        low, high = spread[kind]
        print(f"  {kind}: pair by pair {low:.2f} to {high:.2f}, beside {best[kind][1]}")


if __name__ == "__main__":
    main()
