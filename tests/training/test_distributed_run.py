"""Two processes train what one does, with DDP and with FSDP; and one goes on where two left."""

import fcntl
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from distributed_worker import OPTIMISERS, STEADY, gradients, stop_at_six
from objective_cases import CASES
from tiny_runs import Recorder, tiny_trainer, weights

from hanlin.errors import ConfigError
from hanlin.models import load
from hanlin.training.config import OptimizerSettings
from hanlin.training.distributed import World, join
from tiny_models import CORPUS, byte_tokenizer

KINDS = ("ddp", "fsdp")


def torchrun(*arguments: object, **changes: Any) -> subprocess.CompletedProcess[str]:
    """Two processes on one core each."""
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here), str(here.parent), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=400, check=False,
        **changes,
    )  # fmt: skip


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `distributed_worker` leaves; made once, also where several processes run these tests."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "distributed"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "told.json").exists():
            work(folder)
    return folder


def work(folder: Path) -> None:
    """Run `distributed_worker` under torchrun."""
    for kind in KINDS:
        stop = Recorder(at_step=stop_at_six)
        before = folder / f"alone then {kind}"
        tiny_trainer(before, dropout=0.0, watchers=[stop], optimizer=STEADY).run()
    done = torchrun(Path(__file__).with_name("distributed_worker.py"), folder)
    assert done.returncode == 0, done.stderr[-6000:]


def assert_close(found: dict[str, Any], expected: dict[str, Any], close: float) -> None:
    assert found.keys() >= expected.keys()
    for name, tensor in expected.items():
        largest = max(float(tensor.abs().max()), 1e-3)
        assert float((found[name] - tensor).abs().max()) <= close * largest, name


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_one_big_batch(kind: str, name: str, folder: Path) -> None:
    """Two processes, two micro-batches each, against one process and one batch."""
    expected = gradients(CASES[name], World(), micro=None)
    assert any(g.abs().max() > 1e-3 for g in expected.values())
    assert_close(torch.load(folder / f"gradients {kind} {name}.pt"), expected, 2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMISERS)
def test_a_whole_run_gives_the_same_weights_and_losses(
    name: str, folder: Path, tmp_path: Path
) -> None:
    watcher = Recorder()
    settings = OptimizerSettings(name=name, **OPTIMISERS[name])  # type: ignore[arg-type]
    trainer = tiny_trainer(tmp_path, dropout=0.0, optimizer=settings, watchers=[watcher])
    trainer.run()
    expected = weights(trainer.model)
    told = json.loads((folder / "told.json").read_text())
    for kind in KINDS:
        assert_close(torch.load(folder / f"{kind} {name}.pt"), expected, 2e-5)
        losses = told[f"{kind} {name}"]
        assert losses["losses"] == pytest.approx([r.loss for r in watcher.steps], rel=1e-5)
        assert losses["norms"] == pytest.approx([r.grad_norm for r in watcher.steps], rel=1e-4)
        for (loss, targets), record in zip(losses["validation"], watcher.evaluations, strict=True):
            assert targets == record.targets
            assert loss == pytest.approx(record.loss, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_goes_on_with_another_number_of_processes(
    kind: str, folder: Path, tmp_path: Path
) -> None:
    """The same steps read the same text, so the weights are those of one process."""
    trainer = tiny_trainer(tmp_path, dropout=0.0, optimizer=STEADY)
    trainer.run()
    expected = weights(trainer.model)
    assert_close(torch.load(folder / f"alone then {kind}.pt"), expected, 2e-5)
    on = tiny_trainer(folder / f"{kind} then alone", dropout=0.0, resume=True, optimizer=STEADY)
    assert on.place.step == 6
    on.run()
    assert_close(weights(on.model), expected, 2e-5)


DEATH = """
import os, sys
from pathlib import Path
from tiny_runs import Recorder, tiny_trainer
from hanlin.training.distributed import join
world = join("none", device="cpu")
def die(task, model, batch):
    die.calls += 1
    if world.rank == 1 and die.calls == 9:
        os._exit(9)
    return task.loss(model, batch)
die.calls = 0
tiny_trainer(Path(sys.argv[1]), world=world, loss=die).run()
"""


@pytest.mark.slow
def test_a_process_that_dies_takes_the_others_with_it(tmp_path: Path) -> None:
    script = tmp_path / "death.py"
    script.write_text(DEATH)
    begin = time.monotonic()
    done = torchrun(script, tmp_path / "run")
    assert done.returncode != 0
    assert time.monotonic() - begin < 300
    # What was saved before is whole: the run goes on alone.
    assert tiny_trainer(tmp_path / "run", resume=True).run().finished


@pytest.mark.slow
def test_the_command_trains_under_torchrun(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("\n".join(CORPUS))
    byte_tokenizer().save(tmp_path / "tokenizer")
    config = {
        "model": {"family": "llama", "hidden_size": 32, "num_layers": 2, "num_heads": 4},
        "tokenizer": str(tmp_path / "tokenizer"),
        "data": {"train": str(tmp_path / "text.txt"), "validation": "10%"},
        "batch": {"sequences": 4, "length": 24},
        "duration": "6 steps",
        "distributed": "fsdp",
        "output": str(tmp_path / "run"),
    }
    (tmp_path / "train.yaml").write_text(json.dumps(config))
    done = torchrun("-m", "hanlin.cli", "train", tmp_path / "train.yaml", "--json")
    assert done.returncode == 0, done.stderr[-4000:]
    told = json.loads(done.stdout)  # one process prints
    assert told["steps"] == 6
    assert load(tmp_path / "run").config.num_layers == 2
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(x)["step"] for x in lines if json.loads(x)["kind"] == "step"] == [
        *range(1, 7)
    ]


def test_without_torchrun_several_processes_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for kind in KINDS:
        with pytest.raises(ConfigError, match="torchrun --nproc-per-node"):
            join(kind, device="cpu")  # type: ignore[arg-type]
    assert join("none", device="cpu") == World()


@pytest.mark.slow
def test_a_duration_in_time_goes_by_one_clock(folder: Path) -> None:
    """Else one process saves while the other trains, and both wait for ever; and rates differ."""
    first, second = (torch.load(folder / f"clock {rank}.pt") for rank in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    last = (folder / "clocks" / "checkpoints").glob("step-*")
    assert max(int(path.name[5:]) for path in last) > 2
