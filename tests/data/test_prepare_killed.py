"""Preparing can be killed at any moment and goes on: the same bytes, and nothing done twice."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from preparing import corpus, digest, tokenizer

from hanlin.data import draft as module
from hanlin.data import plan
from hanlin.data.draft import UNITS, read_units
from hanlin.data.prepare import prepare
from hanlin.data.shards import TokenShards
from hanlin.errors import HanlinError
from hanlin.text import sources

RUN = """
import sys, time
from hanlin.data import plan, units
from hanlin.text import sources
from hanlin.data import draft
plan.BLOCK = 9000
sources.SourceFile.small = property(lambda file: file.size <= 4096)
append = draft.Draft.append
def slowly(self, *args, **kwargs):
    append(self, *args, **kwargs)
    time.sleep(0.02)
draft.Draft.append = slowly
from hanlin.data.prepare import prepare
folder, out, tokenizer, workers = sys.argv[1:]
made = prepare(folder, out, tokenizer=tokenizer, workers=int(workers), validation=0.2,
               shard_size=15_000)
print(made.made)
"""


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(plan, "BLOCK", 9000)
    monkeypatch.setattr(sources.SourceFile, "small", property(lambda file: file.size <= 4096))


def start(*arguments: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", RUN, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        text=True,
    )


def finished_units(out: Path) -> int:
    return len(read_units(out.parent / f".{out.name}.partial" / UNITS)[1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workers", "kill"), [(1, signal.SIGKILL), (2, signal.SIGKILL), (2, signal.SIGINT)]
)
def test_killed_at_random_moments_it_ends_with_the_same_bytes(
    tmp_path, small_blocks, workers, kill
):
    folder = corpus(tmp_path / "corpus")
    tokenizer().save(tmp_path / "tokenizer")
    prepare(
        folder, tmp_path / "whole", tokenizer=str(tmp_path / "tokenizer"), validation=0.2,
        shard_size=15_000,
    )  # fmt: skip
    everything = len(read_units(tmp_path / "whole" / UNITS)[1])
    seed = random.randrange(1 << 30)
    print("seed", seed)
    rng = random.Random(seed)
    out = tmp_path / "out"
    seen, kills = 0, 0
    while True:
        process = start(folder, out, tmp_path / "tokenizer", workers)
        # Some moments after the next unit, or two, or five; never before there is a new one.
        wanted = seen + rng.choice([1, 1, 2, 5])
        while process.poll() is None and finished_units(out) < wanted and not out.exists():
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.03))
        if out.exists() or kills == 6:
            break
        process.send_signal(kill)
        process.communicate(timeout=60)
        kills += 1
        now = finished_units(out)
        assert now >= seen
        seen = now
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert kills >= 3
    assert int(stdout) <= everything - seen
    assert digest(out) == digest(tmp_path / "whole")
    for side in ("train", "validation"):
        TokenShards.open(out / side, verify=True)
    assert not (tmp_path / ".out.partial").exists()


def test_workers_end_with_the_process_that_started_them(tmp_path, small_blocks):
    folder = corpus(tmp_path / "corpus")
    tokenizer().save(tmp_path / "tokenizer")
    process = start(folder, tmp_path / "out", tmp_path / "tokenizer", 2)
    while finished_units(tmp_path / "out") < 2:
        time.sleep(0.01)
        assert process.poll() is None
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not children.exists():
        pytest.skip("needs /proc")
    workers = [int(pid) for pid in children.read_text().split()]
    assert len(workers) == 2
    process.kill()
    process.communicate(timeout=60)
    deadline = time.monotonic() + 30
    while any(alive(pid) for pid in workers):
        assert time.monotonic() < deadline, "a worker outlived its parent"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("cut", [0, 1, 2, 3])
def test_what_a_loss_of_power_took_is_made_again(tmp_path, small_blocks, monkeypatch, cut):
    """Data that never reached the disk although the line about it did, and torn lines."""
    folder, tok = corpus(tmp_path / "corpus"), tokenizer()
    prepare(folder, tmp_path / "whole", tokenizer=tok, shard_size=15_000)
    partial = stopped(folder, tmp_path / "out", tok, monkeypatch, after=20)
    tokens = sorted(partial.glob("*.tokens.bin"))[-1]
    index = sorted(partial.glob("*.index.bin"))[-1]
    log = partial / UNITS
    match cut:
        case 0:
            os.truncate(tokens, tokens.stat().st_size - 3)
        case 1:
            index.unlink()
        case 2:
            os.truncate(log, log.stat().st_size - 7)
        case 3:
            with tokens.open("ab") as file:
                file.write(b"half a unit")
            (partial / "00099.tokens.bin").write_bytes(b"of a shard that is not there")
    prepare(folder, tmp_path / "out", tokenizer=tok, shard_size=15_000)
    assert digest(tmp_path / "out") == digest(tmp_path / "whole")


def stopped(folder: Path, out: Path, tok, monkeypatch, *, after: int) -> Path:
    """The draft of a run that was stopped after some units."""
    real = module.Draft.append

    def append(self, *args, **kwargs):
        if len(self.units) == after:
            raise KeyboardInterrupt
        real(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(module.Draft, "append", append)
        with pytest.raises(KeyboardInterrupt):
            prepare(folder, out, tokenizer=tok, shard_size=15_000, workers=1)
    return out.parent / f".{out.name}.partial"


def test_a_full_disk_is_told_and_what_was_finished_stays(tmp_path, small_blocks, monkeypatch):
    folder, tok = corpus(tmp_path / "corpus"), tokenizer()
    prepare(folder, tmp_path / "whole", tokenizer=tok)
    left = 60_000
    real = module._whole

    class Full:
        """A file on a disk with room for `left` bytes."""

        def __init__(self, file) -> None:
            self.file = file

        def write(self, data) -> int:
            nonlocal left
            if not left:
                raise OSError(28, "No space left on device")
            size = min(len(data), left)
            left -= size
            return self.file.write(data[:size])

    monkeypatch.setattr(module, "_whole", lambda file, data: real(Full(file), data))
    out = tmp_path / "out"
    with pytest.raises(HanlinError, match=r"No space left on device\. Free some space and run"):
        prepare(folder, out, tokenizer=tok)
    assert not out.exists()
    assert finished_units(out) > 3
    kept = finished_units(out)
    everything = len(read_units(tmp_path / "whole" / UNITS)[1])
    left = 1 << 30
    assert prepare(folder, out, tokenizer=tok).made == everything - kept
    assert digest(out) == digest(tmp_path / "whole")


def test_stopped_between_the_two_renames_the_result_comes_back(tmp_path, small_blocks, monkeypatch):
    """The old result is out of the way, the new one not yet in its place."""
    folder, tok = corpus(tmp_path / "corpus"), tokenizer()
    out = tmp_path / "out"
    prepare(folder, out, tokenizer=tok)
    (folder / "new.txt").write_text("new\n")
    real = Path.rename

    def rename(self, target):
        if self.name == ".out.partial":
            raise KeyboardInterrupt
        return real(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename)
        with pytest.raises(KeyboardInterrupt):
            prepare(folder, out, tokenizer=tok)
    assert not out.exists()
    assert prepare(folder, out, tokenizer=tok).made == 0
    prepare(folder, tmp_path / "whole", tokenizer=tok)
    assert digest(out) == digest(tmp_path / "whole")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["corpus", "out", "whole"]
