"""A complete training step beside transformers: one process, interleaved, after a warm-up.

    python benchmarks/training_step.py [--rounds 7] [--sequences 8] [--length 256] [--json]

The step: forward, loss, backward, clipping, AdamW (fused), on random tokens, for a Llama of 384
channels, 6 layers and 8192 tokens. Ours is what `hanlin train` runs: in float32, in bfloat16, and
in bfloat16 with its blocks compiled. Theirs is `LlamaForCausalLM` with its own loss: in float32, in
bfloat16 (autocast, and all weights bfloat16), and with torch.compile; the ratio is to each, round
by round. The share is of the matrix products that this machine makes in bfloat16, measured in the
same run: six operations per weight and token, and the pairs that attention looks at.
Needs the `dev` extra, and g++ for what is compiled (`--no-compile` leaves it out).
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
from torch import Tensor, nn

from hanlin.cli.machine import matmul_peak
from hanlin.models.config import ModelConfig
from hanlin.models.transformer import Transformer
from hanlin.training.memory import keep_freed_memory
from hanlin.training.objectives.loss import vocabulary_loss
from hanlin.training.optimizer_settings import OptimizerSettings
from hanlin.training.optimizers import build_optimizer, clip_gradients

Step = Callable[[], float]
"""Makes one step and returns its loss."""

VOCABULARY, WIDTH, LAYERS, HEADS, INNER = 8192, 384, 6, 6, 1024


def ours(ids: Tensor, *, bfloat16: bool, compiled: bool = False) -> Step:
    """A step as hanlin's trainer makes it."""
    config = ModelConfig(
        family="llama",
        shape="decoder",
        head="language-model",
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        num_layers=LAYERS,
        num_heads=HEADS,
        intermediate_size=INNER,
        max_context=ids.shape[1],
        tie_embeddings=False,
    )
    torch.manual_seed(0)
    model = Transformer(config).train()
    if compiled:
        model.compile_blocks()
    optimizer = build_optimizer(model, OptimizerSettings(lr=3e-4))
    # Theirs leaves the last token unasked; so does ours.
    targets = torch.cat([ids[:, 1:], torch.full_like(ids[:, :1], -100)], 1)
    count = int((targets != -100).sum())

    def step() -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss = vocabulary_loss(model, model.hidden(ids), targets)
        (loss / count).backward()  # type: ignore[no-untyped-call]
        clip_gradients(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return float(loss.detach()) / count

    return step


def theirs(
    ids: Tensor, *, autocast: bool = False, compiled: bool = False, narrow: bool = False
) -> Step:
    """The same step with transformers; narrow: weights and optimiser in bfloat16 too."""
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=INNER,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        max_position_embeddings=ids.shape[1],
        use_cache=False,
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    model: Any = transformers.LlamaForCausalLM(config).train()
    if narrow:
        model = model.to(torch.bfloat16)
    parameters: list[nn.Parameter] = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=3e-4, weight_decay=0.1, fused=True)
    if compiled:
        model = torch.compile(model)

    def step() -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return float(loss.detach())

    return step


def operations(length: int) -> float:
    """Floating-point operations of a step, per token."""
    weights = LAYERS * (4 * WIDTH * WIDTH + 3 * WIDTH * INNER) + VOCABULARY * WIDTH
    return 6 * weights + 6 * LAYERS * WIDTH * length


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--sequences", type=int, default=8)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--only", help="names of runners, separated by semicolons")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]

    keep_freed_memory()  # as `hanlin train` does; theirs has it too
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(0, VOCABULARY, (options.sequences, options.length), generator=draw)
    makers: dict[str, Callable[[], Step]] = {
        "hanlin float32": lambda: ours(ids, bfloat16=False),
        "hanlin bfloat16": lambda: ours(ids, bfloat16=True),
        "hanlin bfloat16, compiled": lambda: ours(ids, bfloat16=True, compiled=True),
        "transformers float32": lambda: theirs(ids),
        "transformers bfloat16": lambda: theirs(ids, autocast=True),
        "transformers all bfloat16": lambda: theirs(ids, narrow=True),
        "transformers bfloat16, compiled": lambda: theirs(ids, autocast=True, compiled=True),
    }
    if options.no_compile:
        makers = {name: make for name, make in makers.items() if "compiled" not in name}
    if options.only:
        wanted = options.only.split(";")
        makers = {name: make for name, make in makers.items() if name in wanted}

    runners: dict[str, Step] = {}
    start_up: dict[str, float] = {}
    for name, make in makers.items():
        begin = time.perf_counter()
        runners[name] = make()
        first = runners[name]()
        runners[name]()
        start_up[name] = time.perf_counter() - begin
        print(f"ready: {name}, {start_up[name]:.1f} s, loss {first:.3f}", flush=True)

    seconds: dict[str, list[float]] = {name: [] for name in runners}
    peaks: list[float] = []
    for _ in range(options.rounds):
        peaks.append(matmul_peak(torch.bfloat16, seconds=0.2))
        for name, step in runners.items():
            step()  # the caches are another's
            begin = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - begin)

    tokens, peak = ids.numel(), max(peaks)
    rows = {name: tokens / statistics.median(times) for name, times in seconds.items()}
    ratios = {
        mine: {
            other: statistics.median(
                b / a for a, b in zip(seconds[mine], seconds[other], strict=True)
            )
            for other in rows
            if other.startswith("transformers")
        }
        for mine in rows
        if mine.startswith("hanlin")
    }
    share = {name: rate * operations(options.length) / peak for name, rate in rows.items()}
    if options.json:
        print(
            json.dumps(
                {
                    "tokens_per_second": rows,
                    "ratios": ratios,
                    "peak": peak,
                    "share_of_peak": share,
                    "seconds": seconds,
                    "start_up_seconds": start_up,
                }
            )
        )
        return
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
          f"{torch.get_num_threads()} threads, torch {torch.__version__}, "
          f"transformers {transformers.__version__}")  # fmt: skip
    print(f"bfloat16 products: {peak / 1e9:.0f} GFLOP/s at best, {min(peaks) / 1e9:.0f} at worst")
    print(f"{'':32}{'tok/s':>8}{'of peak':>9}{'first steps':>13}")
    for name, rate in rows.items():
        print(f"{name:32}{rate:8.0f}{share[name]:9.0%}{start_up[name]:11.1f} s")
    for mine, others in ratios.items():
        print(f"{mine}, times theirs:")
        for other, ratio in others.items():
            pairs = [b / a for a, b in zip(seconds[mine], seconds[other], strict=True)]
            print(f"  {ratio:5.2f} {other.removeprefix('transformers '):24} "
                  f"round by round {min(pairs):.2f} to {max(pairs):.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
