"""Run a program that a model wrote, and see whether it comes to its end.

The program runs in a process of its own, in a temporary directory, with nothing on standard input.
On Linux (x86_64, aarch64) it is confined by the kernel, see `confinement`: it can make no socket
and no other process, signal nobody, write nowhere but in its directory, read nothing but the
interpreter and the system's libraries, and gain no privilege; memory, processor time, the size of a
file, what it prints and the time on the clock are limited.

That a program came to its end is told by a word which stands in no file and no object while it
runs: the launcher, in the same process, takes it from a pipe afterwards. Leaving early or reading
what there is to read does not pass. A program that sets out to deceive can: it may look for that
pipe as it may replace what its tests call.

It is no wall against an attacker. A bug of the kernel or of the interpreter can be used; what the
interpreter and the system's libraries hold can be read; processor, memory and disk are used up to
the limits (a directory of many files is not limited but by the time); how long things take can be
observed. For programs that someone means to do harm with, use a virtual machine. ``weak`` runs
where the kernel cannot do this: with limits of memory and time, and sockets refused inside Python,
which a program that tries can undo. It can then read, write and delete what its user can.
"""

import json
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from hanlin.errors import ConfigError, NotFoundError
from hanlin.progress import Progress

CONFINEMENT = Path(__file__).with_name("confinement.py")
"""What runs first in the process of a program."""
Language = Literal["python", "javascript"]
End = Literal["finished", "failed", "quit", "time", "output", "killed"]
"""finished: it came to its last line; failed: an error; quit: it left before its last line, without
an error; time, output: over the limit; killed: by the kernel, as over the limit of memory."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a program may use."""

    seconds: float = 5.0
    """On the clock, and of one processor."""
    memory: int = 1 << 30
    """Bytes of address space; of JavaScript, whose engine reserves far more, of written memory."""
    output: int = 1 << 16
    """Bytes that it may print."""
    file: int = 1 << 24
    """Bytes of one file that it may write."""

    def __post_init__(self) -> None:
        for name in ("seconds", "memory", "output", "file"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"The limit {name} is {getattr(self, name)}. It must be above 0.")


@dataclass(frozen=True)
class Outcome:
    """How a program ended."""

    end: End
    output: str
    """What it printed, standard output and standard error together, up to the limit."""
    seconds: float

    @property
    def finished(self) -> bool:
        """Whether it came to its last line."""
        return self.end == "finished"


def run(
    program: str,
    *,
    language: Language = "python",
    limits: Limits | None = None,
    weak: bool = False,
) -> Outcome:
    """Run a program, standard library alone, and say how it ended.

    A failed ``console.assert`` of JavaScript is an error. Raises `ConfigError` where this machine
    cannot confine it and `weak` is not given, `NotFoundError` where there is no node.
    """
    check(language, weak=weak)
    return _run(program, language, limits or Limits(), weak=weak)


def run_all(
    programs: Sequence[str],
    *,
    language: Language = "python",
    limits: Limits | None = None,
    weak: bool = False,
    together: int | None = None,
) -> list[Outcome]:
    """As `run` for each, `together` at a time (None: one less than processors, at least one)."""
    check(language, weak=weak)
    together = together or max(1, (os.cpu_count() or 2) - 1)
    outcomes = []
    with (
        ThreadPoolExecutor(together) as pool,
        Progress("running programs", total=len(programs), unit="programs") as progress,
    ):
        waiting = [
            pool.submit(_run, one, language, limits or Limits(), weak=weak) for one in programs
        ]
        for future in waiting:
            outcomes.append(future.result())
            progress.advance()
    return outcomes


@cache
def check(language: Language, *, weak: bool) -> None:
    """Raise where programs cannot be run: `ConfigError`, or `NotFoundError` without node."""
    if os.name != "posix":
        raise ConfigError("Programs are run on Linux and macOS alone. Use a virtual machine.")
    trial = {"python": "import sys\n", "javascript": 'require("path");\n'}[language]
    outcome = _run(trial, language, Limits(seconds=30.0), weak=weak)
    if outcome.finished:
        return
    said = outcome.output.strip().splitlines()
    why = said[-1] if said else outcome.end
    if weak:
        raise ConfigError(f"Programs cannot be run here: {why}. Check the interpreter.")
    raise ConfigError(
        f"This machine cannot confine programs ({why}). Use Linux 5.13 or later with Landlock and "
        "seccomp, or allow limits of time and memory alone: weak=True, --weak-sandbox."
    )


def _run(program: str, language: Language, limits: Limits, *, weak: bool) -> Outcome:
    directory = Path(tempfile.mkdtemp(prefix="hanlin-program-"))
    taking, giving = os.pipe()
    listening, telling = os.pipe()
    try:
        word = secrets.token_hex(16)
        os.write(giving, word.encode("ascii"))
        os.close(giving)
        giving = -1
        suffix = {"python": "py", "javascript": "js"}[language]
        launcher, place = (directory / f"{name}.{suffix}" for name in ("launcher", "program"))
        launcher.write_text(
            (_NO_SOCKETS if weak and language == "python" else "") + _LAUNCHERS[language], "utf-8"
        )
        place.write_text(program, "utf-8", "replace")
        target = [str(launcher), str(place), str(taking), str(telling)]
        command = _command(target, directory, language, limits, weak=weak)
        begin = time.monotonic()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=directory,
            env=_environment(directory),
            pass_fds=(taking, telling),
            start_new_session=True,
        )
        os.close(telling)
        telling = -1
        printed, end = _watch(process, limits, begin)
        seconds = time.monotonic() - begin
        os.set_blocking(listening, False)
        try:
            told = os.read(listening, 64).decode("ascii", "replace")
        except BlockingIOError:  # a process that got away (weak) holds the other end
            told = ""
        if end is None:
            end = _end(process.returncode, reached=told == word)
        return Outcome(end, printed.decode("utf-8", "replace"), seconds)
    finally:
        for pipe in (taking, giving, listening, telling):
            if pipe >= 0:
                os.close(pipe)
        _remove(directory)


def _remove(directory: Path) -> None:
    try:
        shutil.rmtree(directory, ignore_errors=True)
    except RecursionError:  # a folder in a folder in a folder
        subprocess.run(["rm", "-rf", "--", str(directory)], check=False, capture_output=True)


def _watch(
    process: subprocess.Popen[bytes], limits: Limits, begin: float
) -> tuple[bytes, End | None]:
    """What the process prints until it ends or is stopped, and why it was stopped."""
    assert process.stdout is not None
    printed = bytearray()
    end: End | None = None
    deadline = begin + limits.seconds
    poll = select.poll()
    poll.register(process.stdout, select.POLLIN | select.POLLHUP)
    try:
        while end is None:
            left = deadline - time.monotonic()
            if left <= 0:
                end = "time"
            elif poll.poll(left * 1000):
                data = os.read(process.stdout.fileno(), 1 << 16)
                printed += data[: limits.output + 1 - len(printed)]
                if len(printed) > limits.output:
                    end = "output"
                if not data:
                    break
        if end is None:  # it closed its output, which is not yet its end
            try:
                process.wait(max(deadline - time.monotonic(), 0.01))
            except subprocess.TimeoutExpired:
                end = "time"
    finally:
        # The group is there until its leader has been waited for, so no other can be hit.
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    return bytes(printed[: limits.output]), end


def _end(status: int, *, reached: bool) -> End:
    if status == 0:
        return "finished" if reached else "quit"
    if status == -signal.SIGXCPU:
        return "time"
    return "killed" if status < 0 else "failed"


def _command(
    target: list[str], directory: Path, language: Language, limits: Limits, *, weak: bool
) -> list[str]:
    """What confines itself and becomes the interpreter of `target`, the launcher's command line."""
    python = os.path.realpath(sys.executable)
    seconds = int(limits.seconds) + 1
    bounds = {"CPU": seconds, "FSIZE": limits.file, "CORE": 0, "NOFILE": 256}
    if language == "javascript":
        target = [_node(), f"--max-old-space-size={max(limits.memory >> 21, 16)}", *target]
        bounds["DATA"] = limits.memory
    else:
        # The hash seed of the environment is read, nothing of the user's is.
        target = [python, "-SsBP", *target]
        bounds["AS"] = limits.memory
    told = {
        "strict": not weak,
        "read": [*_SYSTEM, sys.base_prefix, sys.base_exec_prefix, str(directory)],
        "write": [str(directory), "/dev/null"],
        "limits": bounds,
        "program": target,
    }
    return [python, "-I", "-S", "-B", str(CONFINEMENT), json.dumps(told)]


def _node() -> str:
    found = shutil.which("node")
    if found is None:
        raise NotFoundError("There is no node, which runs JavaScript. Install Node.js.")
    return os.path.realpath(found)


def _environment(directory: Path) -> dict[str, str]:
    place = str(directory)
    environment = {"PATH": "/usr/bin:/bin", "HOME": place, "TMPDIR": place, "LANG": "C.UTF-8"}
    return {**environment, "PYTHONHASHSEED": "0", "NODE_DISABLE_COLORS": "1"}


_SYSTEM = (
    *("/usr", "/lib", "/lib64", "/bin", "/nix/store", "/gnu/store"),
    *("/etc/ld.so.cache", "/etc/localtime", "/etc/ssl/openssl.cnf"),
    *("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random"),
)
"""What a program may read beside its interpreter and its directory."""
_LAUNCHERS: dict[Language, str] = {
    "python": """
import os, sys
launcher = sys.modules["__main__"]
path, taking, telling = sys.argv[1:]
sys.argv[:] = [path]
program = sys.modules["__main__"] = type(sys)("__main__")
program.__file__ = path
with open(path, "rb") as file:
    code = compile(file.read(), path, "exec", dont_inherit=True)
exec(code, program.__dict__)
os.write(int(telling), os.read(int(taking), 64))
""",
    "javascript": """
const [node, , path, taking, telling] = process.argv;
process.argv = [node, path];
console.assert = (right, ...said) => {
  if (!right) throw new Error("Assertion failed " + said.join(" "));
};
require("module")._load(path, null, true);
const word = Buffer.alloc(64), fs = require("fs");
fs.writeSync(Number(telling), word, 0, fs.readSync(Number(taking), word));
""",
}
"""They run a program as its interpreter would, and take and tell the word when it has come to its
end. JavaScript's failed assertions are made errors."""
_NO_SOCKETS = """
import sys
def refuse(event, arguments):
    if event.startswith("socket."):
        raise PermissionError("no network in here")
sys.addaudithook(refuse)
"""
