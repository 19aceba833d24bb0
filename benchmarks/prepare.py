"""From text to token shards, beside the tokenizers library alone.

    python benchmarks/prepare.py [--megabytes 40] [--rounds 3] [--memory]

The text is what every Python installation has: its own library, sources and documentation, with
lines left out at random so that no two copies are the same. In each round `hanlin.prepare` goes
from a file of JSON lines to shards with all cores, its worker processes started anew, and the
library encodes the same documents, which are in memory already, with its own threads. With
`--memory`, one run alone, and the most memory that all processes together held.
"""

import argparse
import json
import random
import shutil
import statistics
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

VOCABULARY = 16_000
BATCH = 1 << 22
"""Characters the library gets at once."""


def documents(size: int, *, seed: int = 0) -> Iterator[str]:
    """Yield documents of `size` bytes in all."""
    rng = random.Random(seed)
    files = sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py"))
    files = [path for path in files if "site-packages" not in path.parts]
    while True:
        rng.shuffle(files)
        for path in files:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
            text = "".join(line for line in lines if rng.random() < 0.9)
            if not text.strip():
                continue
            size -= len(text.encode())
            yield text
            if size <= 0:
                return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", action="store_true")
    options = parser.parse_args()
    size = options.megabytes * 1_000_000
    from hanlin import prepare
    from hanlin.tokenizers import train

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tokenizer = train(documents(3_000_000, seed=1), kind="bpe", vocab_size=VOCABULARY)
        source = folder / "text.jsonl"
        with source.open("w", encoding="utf-8") as file:
            for text in documents(size):
                file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
        if options.memory:
            with Watch() as watch:
                made = prepare(source, folder / "out", tokenizer=tokenizer, progress=True)
            print(
                f"{made.bytes / 1e6:.0f} MB, {made.tokens} tokens, {made.seconds:.1f} s, "
                f"{made.bytes / 1e6 / made.seconds:.2f} MB/s, "
                f"at most {watch.most / 1e6:.0f} MB of memory over all processes"
            )
            return
        texts = list(documents(size))
        total = sum(len(text.encode()) for text in texts) / 1e6
        ours, theirs = [], []
        for _ in range(options.rounds):
            begin = time.perf_counter()
            count = sum(map(count_ids, encoded(tokenizer.backend, texts)))
            theirs.append(total / (time.perf_counter() - begin))
            shutil.rmtree(folder / "out", ignore_errors=True)
            begin = time.perf_counter()
            made = prepare(source, folder / "out", tokenizer=tokenizer)
            ours.append(total / (time.perf_counter() - begin))
            assert made.tokens == count + len(texts)
    print(f"{total:.1f} MB of text in {len(texts)} documents, MB/s: median (all rounds)")
    for what, rates in (("hanlin.prepare", ours), ("tokenizers.encode_batch_fast", theirs)):
        print(f"{what:30}{statistics.median(rates):6.2f}  ({' '.join(f'{r:.2f}' for r in rates)})")
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    print(f"ratio, median of the rounds: {statistics.median(ratios):.2f}")


def encoded(backend, texts: list[str]) -> Iterator[list]:
    """Yield batches of encodings, as the library gives them."""
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= BATCH:
            yield backend.encode_batch_fast(batch, add_special_tokens=False)
            batch, size = [], 0
    yield backend.encode_batch_fast(batch, add_special_tokens=False)


def count_ids(encodings: list) -> int:
    return sum(map(len, encodings))


class Watch:
    """The most memory that this process and its children held, sampled while a block runs."""

    def __enter__(self) -> "Watch":
        self.most = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(0.1):
            children = Path("/proc/self/task")
            pids = [
                pid
                for task in children.iterdir()
                for pid in (task / "children").read_text().split()
            ]
            self.most = max(self.most, sum(map(resident, ["self", *pids])))


def resident(pid: str) -> int:
    """Bytes of memory that a process holds for itself, shared libraries counted in."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next(
        (int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS")), 0
    )


if __name__ == "__main__":
    main()
