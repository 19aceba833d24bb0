"""Worker processes that make units: they take tasks over a pipe and end when the pipe does.

So they never outlive the process that started them, however that ended. They are started as
commands of their own rather than by `multiprocessing`, which would run the caller's script again or
copy a process full of threads.
"""

import os
import pickle
import signal
import subprocess
import sys
import traceback
from collections.abc import Generator, Iterator
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Generic, Protocol, TypeVar

from hanlin.data.units import Job, Made, Task, make
from hanlin.errors import ConfigError, HanlinError

_START = "import sys; from hanlin.data.workers import serve; serve(int(sys.argv[1]))"
WINDOW = 4
"""Tasks under way for each worker, waiting for their turn included; bounds memory."""


class HasTask(Protocol):
    """What is to be done, or has been done before (no task)."""

    @property
    def task(self) -> Task | None:
        """What a worker has to do."""


Step = TypeVar("Step", bound=HasTask)


def perform(
    job: Job, steps: Iterator[Step], *, workers: int
) -> Generator[tuple[Step, list[Made]], None, None]:
    """Yield each step with what its task came to, in the order of the steps.

    With one worker the work is done in this process. Raises `HanlinError` where a worker dies, and
    what it raised where a task fails.
    """
    if workers == 1:
        for step in steps:
            yield step, [] if step.task is None else make(job, step.task)
        return
    pool: _Pool[Step] = _Pool(job, workers)
    try:
        yield from pool.run(steps)
    finally:
        pool.close()


class _Pool(Generic[Step]):
    def __init__(self, job: Job, workers: int) -> None:
        try:
            packed = pickle.dumps(job)
            if b"__main__" in packed:
                raise pickle.PicklingError("it is defined in __main__")
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise ConfigError(
                f"A stage of cleaning cannot be sent to other processes ({error}). Put it in a "
                "module that can be imported, or use workers=1."
            ) from error
        self.workers: dict[Connection, subprocess.Popen[bytes]] = {}
        self.busy: dict[Connection, int] = {}
        self.packed = packed
        for _ in range(workers):
            self._start()

    def _start(self) -> None:
        ours, theirs = Pipe()
        paths = os.pathsep.join(path for path in sys.path if path)
        process = subprocess.Popen(
            [sys.executable, "-c", _START, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            # A session of its own: Ctrl-C is for the process that started it.
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": paths, "TOKENIZERS_PARALLELISM": "false"},
        )
        theirs.close()
        self.workers[ours] = process
        ours.send_bytes(self.packed)

    def run(self, steps: Iterator[Step]) -> Iterator[tuple[Step, list[Made]]]:
        waiting: dict[int, Step] = {}
        done: dict[int, list[Made]] = {}
        sent = turn = 0
        idle = list(self.workers)
        upcoming = next(steps, None)
        while upcoming is not None or waiting:
            while upcoming is not None and len(waiting) < WINDOW * len(self.workers):
                if upcoming.task is None:
                    done[sent] = []
                elif idle:
                    self._send(idle[-1], upcoming.task)
                    self.busy[idle.pop()] = sent
                else:
                    break
                waiting[sent] = upcoming
                sent += 1
                upcoming = next(steps, None)
            while turn in done:
                yield waiting.pop(turn), done.pop(turn)
                turn += 1
            if self.busy and turn not in done:
                for connection in wait(list(self.busy)):
                    assert isinstance(connection, Connection)
                    done[self.busy.pop(connection)] = self._receive(connection)
                    idle.append(connection)

    def _send(self, connection: Connection, task: Task) -> None:
        try:
            connection.send(task)
        except OSError as error:
            raise self._died(connection) from error

    def _receive(self, connection: Connection) -> list[Made]:
        try:
            made, failure = connection.recv()
        except (EOFError, OSError) as error:
            raise self._died(connection) from error
        if isinstance(failure, HanlinError):
            raise failure
        if failure is not None:
            raise RuntimeError(f"A worker failed:\n{failure}")
        found: list[Made] = made
        return found

    def _died(self, connection: Connection) -> HanlinError:
        status = self.workers[connection].wait()
        why = "most likely for want of memory" if status == -signal.SIGKILL else "by itself"
        return HanlinError(
            f"A worker process ended with status {status}, {why}. Run the same command again, with "
            "fewer workers: it goes on from here."
        )

    def close(self) -> None:
        for connection, process in self.workers.items():
            connection.close()
            process.terminate()
        for process in self.workers.values():
            process.wait()


def serve(descriptor: int) -> None:
    """Do tasks until there are no more; what a worker process runs."""
    connection = Connection(descriptor)
    with suppress(EOFError, OSError):
        job: Job = pickle.loads(connection.recv_bytes())
        while True:
            task: Task = connection.recv()
            answer: tuple[list[Made] | None, HanlinError | str | None]
            try:
                answer = make(job, task), None
            except HanlinError as error:
                answer = None, error
            except Exception:
                answer = None, traceback.format_exc()
            connection.send(answer)
