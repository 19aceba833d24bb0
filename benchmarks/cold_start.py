"""From a cold process to the first token, beside transformers.

    python benchmarks/cold_start.py [--rounds 5]

Each run is a new process that imports the library, loads SmolLM2-135M-Instruct and produces the
first token of an answer; also the moment the whole of a 20-token answer is there. transformers is
given the same GGUF file, and, to be fair to it, also the model saved as safetensors. Needs the
`dev` extra.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

OURS = """
import time, json, sys
start = float(sys.argv[1])
import hanlin
lm = hanlin.load("smollm2-135m")
loaded = time.time() - start
first = None
settings = {"temperature": 0, "max_new_tokens": 20, "ignore_eos": True}
for piece in lm.stream("The capital of France is", **settings):
    if first is None:
        first = time.time() - start
print(json.dumps([loaded, first, time.time() - start]))
"""

THEIRS = """
import time, json, sys
start = float(sys.argv[1])
import torch, transformers
transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
folder, file = sys.argv[2], sys.argv[3] or None
dtype = getattr(torch, sys.argv[4])
extra = {"gguf_file": file} if file else {}
tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **extra)
model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, **extra)
loaded = time.time() - start
class First:
    when = None
    def put(self, ids):
        # The first call brings the prompt, the second the first token.
        self.calls = getattr(self, "calls", 0) + 1
        if self.calls == 2:
            First.when = time.time() - start
    def end(self): pass
batch = tokenizer("The capital of France is", return_tensors="pt")
with torch.inference_mode():
    model.generate(**batch, do_sample=False, min_new_tokens=20, max_new_tokens=20, streamer=First())
print(json.dumps([loaded, First.when, time.time() - start]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    from hanlin import models
    from hanlin.models.directory import save_directory
    from hanlin.models.named import pull
    from hanlin.tokenizers import Tokenizer

    gguf = pull("smollm2-135m")
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "model"
        save_directory(models.load(gguf), saved, tokenizer=Tokenizer.load(gguf))
        runs = {
            "hanlin, GGUF": [OURS],
            "transformers, GGUF": [THEIRS, str(gguf.parent), gguf.name, "bfloat16"],
            "transformers, safetensors": [THEIRS, str(saved), "", "bfloat16"],
        }
        times: dict[str, list[list[float]]] = {name: [] for name in runs}
        for round_ in range(options.rounds + 1):
            for name, (code, *rest) in runs.items():
                line = [sys.executable, "-c", code, str(time.time()), *rest]
                out = subprocess.run(line, capture_output=True, text=True, check=True).stdout
                if round_:  # the first round fills the page cache
                    times[name].append(json.loads(out.splitlines()[-1]))
    print(f"{'seconds, median':28}{'loaded':>9}{'first token':>13}{'20 tokens':>11}")
    medians = {
        name: [statistics.median(column) for column in zip(*rows, strict=True)]
        for name, rows in times.items()
    }
    for name, (loaded, first, whole) in medians.items():
        print(f"{name:28}{loaded:9.2f}{first:13.2f}{whole:11.2f}")
    for name, rows in times.items():
        if not name.startswith("hanlin"):
            pairs = [b[1] / a[1] for a, b in zip(times["hanlin, GGUF"], rows, strict=True)]
            print(f"first token, {name} / hanlin: {statistics.median(pairs):.2f} "
                  f"({min(pairs):.2f} to {max(pairs):.2f})")  # fmt: skip


if __name__ == "__main__":
    main()
