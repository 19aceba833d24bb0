"""Trains, is killed, goes on, again and again; started by `test_resume_killed` as its own process.

It imports everything once and forks for each life of the run, which costs milliseconds, where a new
process would need seconds. Nothing is computed before the fork, so no thread is lost in it.
"""

import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hanlin.training.checkpoints
import hanlin.training.finishing
import hanlin.training.run
import hanlin.training.trainer
import hanlin.training.validation
from hanlin.config import read_config
from hanlin.training.config import TrainConfig
from hanlin.training.run import train

Life = Callable[[], None]
KEEP = 2
"""Checkpoints that the runs keep beside the best."""


def live(config: dict[str, Any], log: Path, before: Life = lambda: None) -> int:
    """Fork a process that trains (after `before`); returns its id."""
    child = os.fork()
    if child:
        return child
    status = 70
    try:
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(out, 1)
        os.dup2(out, 2)
        before()
        result = train(config, resume=True)
        status = 0 if result.finished else 128 + (result.signal or 0)
    except BaseException:
        traceback.print_exc()
    os._exit(status)


def wait(child: int, seconds: float | None = None, number: int = signal.SIGKILL) -> int:
    """The status of a child, which gets a signal after so many seconds if it still lives."""
    if seconds is not None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.002)
        os.kill(child, number)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def die_in(
    module: Any,
    name: str,
    call: int,
    *,
    after: bool = False,
    counts: Callable[..., bool] = lambda *args, **kwargs: True,
) -> Life:
    """Have the process kill itself at a call of a function, before or after it is done.

    counts: which calls are counted, by their arguments.
    """

    def plant() -> None:
        old, calls = getattr(module, name), 0

        def new(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            counted = counts(*args, **kwargs)
            calls += counted
            here = counted and calls == call
            if here and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = old(*args, **kwargs)
            if here and after:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        setattr(module, name, new)

    return plant


def main(config: dict[str, Any], folder: Path, seed: int, kills: int) -> None:
    """Train once undisturbed, then with `kills` kills and two SIGTERMs; tell what happened."""
    print("seed", seed, flush=True)
    draw = random.Random(seed)
    log = folder / "log"
    read_config({**config, "output": "nowhere"}, into=TrainConfig)
    hanlin.training.run.machine_peak = lambda precision, seconds: None  # type: ignore[assignment]
    begin = time.monotonic()
    status = wait(live({**config, "output": str(folder / "whole")}, log))
    assert status == 0, log.read_text()
    took = time.monotonic() - begin
    broken = {**config, "output": str(folder / "broken")}
    saves = hanlin.training.checkpoints
    planned = [
        die_in(saves, "sync", draw.randint(1, 40)),
        die_in(saves, "save_file", draw.randint(1, 2)),
        die_in(saves, "save_file", 1, after=True),
        die_in(saves.shutil, "rmtree", draw.randint(1, 6)),
        die_in(hanlin.training.validation.Validation, "look", 1),
        die_in(saves.Checkpoints, "note", 1, after=draw.random() < 0.5),
        die_in(hanlin.training.trainer.Trainer, "_backward", draw.randint(1, 12)),
    ]
    # None: a kill at a random moment; a number: that signal at a random moment.
    ends: list[Life | int | None] = [
        *planned,
        *[None] * (kills - len(planned)),
        *[signal.SIGTERM] * 2,
    ]
    draw.shuffle(ends)
    told = {"killed": 0, "terminated": 0, "lives": 0}
    stops: set[int] = set()
    while ends:
        told["lives"] += 1
        assert told["lives"] < 10 * kills, log.read_text()[-3000:]
        end = ends.pop()
        if callable(end):
            status = wait(live(broken, log, end))
        else:
            seconds = draw.uniform(0.1, 0.7) * took
            status = wait(live(broken, log), seconds, end or signal.SIGKILL)
        if status == -signal.SIGKILL:
            told["killed"] += 1
        elif status in (128 + signal.SIGTERM, -signal.SIGTERM):
            told["terminated"] += 1  # before the loop, the signal's own meaning holds
            stops |= set(checkpoints(folder / "broken")[-1:])
        else:
            assert status == 0, log.read_text()[-3000:]
            # Finished before it could be killed: begin anew, so that kills are of a run under way.
            set_aside(folder, stops)
            ends.insert(0, None if callable(end) else end)
    if (folder / "broken" / "config.json").exists():
        # The last kill came after the model was put down, and before the process had left.
        assert wait(live(broken, log)) == 0, log.read_text()[-3000:]
        set_aside(folder, stops)
    # The model is put together file by file: killed in there, it must not look whole.
    for call, counts in ((1, moves), (2, moves), (1, moves_last)):
        life = die_in(hanlin.training.finishing.os, "replace", call, counts=counts)
        assert wait(live(broken, log, life)) == -signal.SIGKILL, log.read_text()
        told["killed"] += 1
        assert not (folder / "broken" / "config.json").exists()
    # Killed while it deleted a checkpoint, after the last save: nothing else would clear that up.
    (folder / "broken" / "checkpoints" / ".step-00000001.gone").mkdir(parents=True, exist_ok=True)
    status = wait(live(broken, log))
    assert status == 0, log.read_text()[-3000:]
    check(folder, stops)
    print(json.dumps(told))


def moves(source: Path, target: Path) -> bool:
    """Whether this puts a file of the model in its place."""
    return Path(source).parent.name == ".model.partial"


def moves_last(source: Path, target: Path) -> bool:
    """Whether this puts the file in its place that makes a directory a model's."""
    return moves(source, target) and Path(source).name == "config.json"


def set_aside(folder: Path, stops: set[int]) -> None:
    """Check a run that has finished, and make room for another."""
    check(folder, stops)
    number = len(list(folder.glob("broken-*")))
    os.rename(folder / "broken", folder / f"broken-{number}")
    stops.clear()


def check(folder: Path, stops: set[int]) -> None:
    """The two runs have left the same bits; the broken one also saved at its stops, if any."""
    whole, broken = folder / "whole", folder / "broken"
    steps = [line for line in records(whole) if line["kind"] == "step"]
    assert [line["step"] for line in steps] == list(range(1, len(steps) + 1))
    for name in ("model.safetensors", f"checkpoints/step-{len(steps):08}/optimizer.safetensors"):
        assert (whole / name).read_bytes() == (broken / name).read_bytes(), name
    for kind, fields in (("step", ("step", "tokens", "loss", "lr", "grad_norm")),
                         ("evaluation", ("step", "loss", "best", "samples"))):  # fmt: skip
        seen = [
            [[line[field] for field in fields] for line in records(run) if line["kind"] == kind]
            for run in (whole, broken)
        ]
        assert seen[0] == seen[1], (kind, seen)
    best = [
        line["step"] for line in records(whole) if line["kind"] == "evaluation" and line["best"]
    ]
    kept = {best[-1], *sorted({*checkpoints(whole), *stops})[-KEEP:]}
    assert checkpoints(broken) == sorted(kept), (checkpoints(whole), checkpoints(broken), stops)
    rest = [
        sorted(p.name for p in (run / "checkpoints").iterdir() if not p.name.startswith("step-"))
        for run in (whole, broken)
    ]
    assert rest[0] == rest[1], rest


def checkpoints(run: Path) -> list[int]:
    """The steps that a run has a checkpoint of."""
    return sorted(int(path.name.removeprefix("step-")) for path in run.glob("checkpoints/step-*"))


def records(run: Path) -> list[dict[str, Any]]:
    """The metrics of a run."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


if __name__ == "__main__":
    given = json.loads(sys.stdin.read())
    main(given["config"], Path(given["folder"]), given["seed"], given["kills"])
