"""How low the loss on tiny Shakespeare gets in the time of nanoGPT's CPU recipe: both in one run.

    python benchmarks/learning.py tinyshakespeare/input.txt [--threads 2] [--seed 0] [--json]

The first nine tenths of the characters are learnt from, the last tenth is held out. First the
recipe (`nanogpt_recipe.py`) runs and its wall time is taken, from the start of its process to the
end of its training. Then `hanlin train` runs with `learning.yaml` in a process of its own, told to
end early enough that everything, from starting Python and learning a tokenizer to the finished
model directory, fits into the same wall time. Both are then measured over the whole held-out part,
every character scored once with sliding windows, in nats per character: for tokens of several
characters that is the sum of their losses over the number of characters, which is no less than what
the model's distribution over characters would cost.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
START = 0.05
"""Share of the time kept for what is not training: starting, preparing, evaluating, saving."""
LEAST = 14.0
"""Seconds kept for it at least."""
STRIDE = 32
"""Tokens scored a window, so that each sees at least the rest of the context."""


def run_peer(text: Path, environment: dict[str, str]) -> dict[str, Any]:
    """The recipe's wall time and losses."""
    begin = time.perf_counter()
    command = [sys.executable, str(HERE / "nanogpt_recipe.py"), str(text)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        trained = json.loads(process.stdout.readline())
        wall = time.perf_counter() - begin
        held_out = json.loads(process.stdout.readline())
    return {"wall": wall, **trained, **held_out}


def run_ours(
    parts: dict[str, Path], output: Path, seconds: float, seed: int, environment: dict[str, str]
) -> dict[str, Any]:
    """hanlin's wall time and losses, where the whole of it is to take `seconds`."""
    left = seconds - max(LEAST, START * seconds)
    overrides = {
        "data.train": parts["train"],
        "data.validation": parts["held_out"],
        "duration": f"{left:.1f} seconds",
        "output": output,
        "seed": seed,
    }
    command = [sys.executable, "-m", "hanlin.cli", "train", str(HERE / "learning.yaml"), "--json"]
    command += [f"{key}={value}" for key, value in overrides.items()]
    begin = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=True)
    wall = time.perf_counter() - begin
    return {"wall": wall, **json.loads(done.stdout)}


def held_out_loss(model: Path, text: str) -> tuple[float, int]:
    """Nats per character of `text`, and the model's parameters."""
    import hanlin
    from hanlin.models import load
    from hanlin.tasks.scoring import Asked, log_probabilities

    lm = hanlin.load(str(model))
    network = lm.network
    ids = lm.tokenizer.encode(text)
    start = lm.tokenizer.eos_ids[0]
    asked = Asked([start, *ids], 1)
    [scored] = log_probabilities(
        network, [asked], context=network.config.max_context, stride=STRIDE
    )
    parameters = sum(p.numel() for p in load(str(model), dtype="float32").parameters())
    return -float(scored.logprobs.sum()) / len(text), parameters


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("text", type=Path, help="tiny Shakespeare's input.txt")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, help="do not run the recipe: it took this long")
    parser.add_argument("--keep", type=Path, help="keep the model in this directory")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    environment = {**os.environ, "OMP_NUM_THREADS": str(asked.threads)}
    text = asked.text.read_text(encoding="utf-8")
    cut = int(len(text) * 0.9)
    with tempfile.TemporaryDirectory() as folder:
        parts = {name: Path(folder) / f"{name}.txt" for name in ("train", "held_out")}
        parts["train"].write_text(text[:cut], encoding="utf-8")
        parts["held_out"].write_text(text[cut:], encoding="utf-8")
        peer: dict[str, Any] = {"wall": asked.seconds}
        if asked.seconds is None:
            peer = run_peer(asked.text, environment)
        output = asked.keep or Path(folder) / "model"
        ours = run_ours(parts, output, peer["wall"], asked.seed, environment)
        loss, parameters = held_out_loss(output, text[cut:])
    ours |= {"held_out_loss": loss, "parameters": parameters}
    if asked.json:
        print(json.dumps({"peer": peer, "ours": ours, "threads": asked.threads}))
        return
    print(f"{platform.processor() or platform.machine()}, {asked.threads} threads")
    print(f"{'':24}{'seconds':>9}{'nats per character, held out':>30}")
    if "held_out_loss" in peer:
        print(f"{'nanoGPT CPU recipe':24}{peer['wall']:9.1f}{peer['held_out_loss']:30.4f}")
        print(f"{'  its own estimate':24}{'':9}{peer['estimates'][-1][1]:30.4f}")
    print(f"{'hanlin':24}{ours['wall']:9.1f}{loss:30.4f}")
    print(f"{'ratio of the times':24}{ours['wall'] / peer['wall']:9.3f}")
    print(f"hanlin: {parameters / 1e6:.2f} M parameters, {ours['steps']} steps")


if __name__ == "__main__":
    main()
