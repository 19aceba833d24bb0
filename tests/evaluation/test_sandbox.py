"""Programs that a model wrote: what they can do in the sandbox, and above all what they cannot."""

import shutil
import time
from pathlib import Path

import pytest

from hanlin.errors import ConfigError
from hanlin.evaluation import sandbox
from hanlin.evaluation.sandbox import Limits, run, run_all

LIMITS = Limits(seconds=10.0)
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="no node here")


@pytest.fixture(scope="module", autouse=True)
def _confining() -> None:
    try:
        sandbox.check("python", weak=False)
    except ConfigError as error:
        pytest.skip(str(error))


def failed(program: str, language: sandbox.Language = "python") -> str:
    """What a program says that fails; it must not come to its end."""
    outcome = run(program, language=language, limits=LIMITS)
    assert outcome.end == "failed", outcome
    return outcome.output


def test_a_program_that_comes_to_its_end_has_finished() -> None:
    outcome = run("import math, random, re\nprint(math.sqrt(16), '词元')", limits=LIMITS)
    assert outcome.finished
    assert outcome.output == "4.0 词元\n"


def test_an_error_is_a_failure_and_is_shown() -> None:
    assert "ZeroDivisionError" in failed("1/0")
    assert "AssertionError" in failed("assert 1 == 2")
    assert "SyntaxError" in failed('x = """never closed')


@pytest.mark.parametrize("way", ["import os; os._exit(0)", "import sys; sys.exit(0)", "exit()"])
def test_leaving_early_is_not_coming_to_the_end(way: str) -> None:
    program = way if way != "exit()" else "raise SystemExit"
    assert run(program + "\nassert False", limits=LIMITS).end == "quit"


TELLING = """
for found in set(re.findall("[0-9a-f]{32}", seen)):
    for end in range(3, 32):
        try:
            os.write(end, found.encode())
        except OSError:
            pass
os._exit(0)
"""
"""Tell everything that may be the word to everyone who may listen, and leave."""


@pytest.mark.parametrize(
    "look",
    [
        "seen = open(__file__).read() + ''.join(open(name).read() for name in os.listdir())",
        "seen = repr([sys.argv, sys.orig_argv, dict(os.environ)])",
        "frame, seen = sys._getframe(), ''\n"
        "while frame:\n"
        "    seen += repr([frame.f_locals, frame.f_globals, frame.f_code.co_consts])\n"
        "    frame = frame.f_back",
        "held = (one for each in gc.get_objects() for one in gc.get_referents(each))\n"
        "seen = repr([one for one in held if type(one) in (str, bytes)])",
    ],
    ids=["files", "arguments", "frames", "objects"],
)
def test_passing_is_not_to_be_had_by_reading(look: str) -> None:
    program = f"import gc, os, re, sys\n{look}\n{TELLING}\nassert len(seen) < 0"
    assert run(program, limits=LIMITS).end == "quit"


@needs_node
def test_passing_is_not_to_be_had_by_reading_in_javascript_either() -> None:
    program = """
const fs = require("fs");
const seen = fs.readdirSync(".").map(name => fs.readFileSync(name, "utf8")).join();
for (const found of new Set(seen.match(/[0-9a-f]{32}/g)))
  for (let end = 3; end < 32; end++) try { fs.writeSync(end, found); } catch (error) {}
process.exit(0);
"""
    assert run(program, language="javascript", limits=LIMITS).end == "quit"


def test_a_program_is_the_main_module_of_its_process() -> None:
    program = (
        "import sys, pickle\n"
        "class Pair: pass\n"
        "assert __name__ == '__main__' and sys.modules['__main__'].Pair is Pair\n"
        "assert isinstance(pickle.loads(pickle.dumps(Pair())), Pair)\n"
        "assert sys.argv == [__file__]"
    )
    outcome = run(program, limits=LIMITS)
    assert outcome.finished, outcome


@needs_node
def test_a_program_of_javascript_is_too() -> None:
    program = "if (require.main !== module || process.argv.length !== 2) throw new Error('no');"
    outcome = run(program, language="javascript", limits=LIMITS)
    assert outcome.finished, outcome


def test_an_endless_loop_is_stopped() -> None:
    begin = time.monotonic()
    outcome = run("while True: pass", limits=Limits(seconds=0.5))
    assert outcome.end == "time"
    assert time.monotonic() - begin < 60


def test_one_that_shuts_its_output_and_sleeps_is_stopped_too() -> None:
    program = "import os, time\nos.close(1); os.close(2)\ntime.sleep(100)"
    assert run(program, limits=Limits(seconds=0.5)).end == "time"


def test_ten_gigabytes_of_memory_are_not_to_be_had() -> None:
    assert "MemoryError" in failed("x = bytearray(10**10)")


def test_a_gigabyte_of_output_is_cut_off() -> None:
    outcome = run("for _ in range(1000): print('x' * 10**6)", limits=LIMITS)
    assert outcome.end == "output"
    assert len(outcome.output) == LIMITS.output


def test_standard_input_is_empty() -> None:
    assert run("import sys; assert sys.stdin.read() == ''", limits=LIMITS).finished
    assert "EOFError" in failed("input()")


def test_it_cannot_make_processes_but_threads() -> None:
    assert "Operation not permitted" in failed("import os\nwhile True: os.fork()")
    assert "Operation not permitted" in failed("import subprocess; subprocess.run(['ls'])")
    threads = "import threading as t\nx = t.Thread(target=print)\nx.start(); x.join()"
    assert run(threads, limits=LIMITS).finished


def test_it_has_no_network() -> None:
    for kind in ("AF_INET", "AF_INET6", "AF_UNIX"):
        program = f"import socket\nsocket.socket(socket.{kind})"
        assert "Operation not permitted" in failed(program)
    assert "Operation not permitted" in failed("import socket; socket.socketpair()")


def test_it_signals_nobody() -> None:
    assert "Operation not permitted" in failed("import os; os.kill(os.getppid(), 15)")
    assert run("import os; os.abort()", limits=LIMITS).end == "killed"


def test_files_outside_its_directory_are_out_of_reach(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("kept", encoding="utf-8")
    at = repr(str(victim))
    for program in (
        f"import os; os.remove({at})",
        f"open({at}, 'w')",
        f"open({at}).read()",
        f"import os; os.truncate({at}, 0)",
        f"import os; os.open({at}, os.O_RDONLY | os.O_TRUNC)",
        f"import os; os.chmod({at}, 0)",
        f"import os; os.utime({at})",
        f"import os; os.rename({at}, 'mine')",
        f"import os; os.link({at}, 'mine')",
        f"import os; os.symlink({at}, 'mine'); open('mine', 'w')",
        f"import shutil; shutil.rmtree({str(tmp_path)!r})",
        f"import os; os.mkdir({str(tmp_path / 'new')!r})",
        f"import os; os.listdir({str(Path.home())!r})",
    ):
        output = failed(program)
        refusals = ("not permitted", "denied", "cross-device link")
        assert any(words in output for words in refusals), (program, output)
    assert victim.read_text(encoding="utf-8") == "kept"
    assert [path.name for path in tmp_path.iterdir()] == ["victim"]


def test_its_own_directory_is_there_and_goes_away_with_it() -> None:
    program = (
        "open('a', 'w').write('b')\nassert open('a').read() == 'b'\nimport os\nprint(os.getcwd())"
    )
    outcome = run(program, limits=LIMITS)
    assert outcome.finished
    assert not Path(outcome.output.strip()).exists()
    assert "File too large" in failed("open('a', 'wb').write(b'x' * 10**8)")


def test_it_sees_nothing_of_the_users_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_USER", "1")
    program = "import os; assert 'SECRET_OF_THE_USER' not in os.environ"
    assert run(program, limits=LIMITS).finished


def test_what_it_computes_is_the_same_each_time() -> None:
    outcomes = run_all(["print(list({'a', 'b', 'c', 'd'}))"] * 3, limits=LIMITS, together=2)
    assert len({outcome.output for outcome in outcomes}) == 1
    assert all(outcome.finished for outcome in outcomes)


def test_many_programs_keep_their_order() -> None:
    outcomes = run_all([f"print({n})" for n in range(5)], limits=LIMITS, together=2)
    assert [outcome.output for outcome in outcomes] == [f"{n}\n" for n in range(5)]


@needs_node
def test_javascript_is_confined_as_well(tmp_path: Path) -> None:
    assert run("console.assert(1 + 1 === 2)", language="javascript", limits=LIMITS).finished
    assert "no" in failed("console.assert(1 === 2, 'no')", "javascript")
    assert run("process.exit(0)", language="javascript", limits=LIMITS).end == "quit"
    loop = run("while (1) {}", language="javascript", limits=Limits(seconds=1.0))
    assert loop.end == "time"
    target = str(tmp_path / "new")
    assert "EACCES" in failed(f"require('fs').writeFileSync({target!r}, 'x')", "javascript")
    assert "EPERM" in failed("require('child_process').execSync('ls')", "javascript")
    assert "EPERM" in failed("require('net').connect(80, '127.0.0.1')", "javascript")


def test_without_the_kernels_help_it_is_refused_unless_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # A system call that every kernel lacks stands for a kernel without Landlock.
    source = sandbox.CONFINEMENT.read_text(encoding="utf-8")
    assert "_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444" in source
    broken = source.replace("_RESTRICT_SELF = 444", "_RESTRICT_SELF = 99444")
    place = tmp_path / "confinement.py"
    place.write_text(broken, encoding="utf-8")
    monkeypatch.setattr(sandbox, "CONFINEMENT", place)
    sandbox.check.cache_clear()
    try:
        with pytest.raises(ConfigError, match=r"Landlock: .*weak=True"):
            run("print(1)")
        assert run("print(1)", weak=True).finished
        assert "no network" in run("import socket; socket.socket()", weak=True).output
    finally:
        sandbox.check.cache_clear()


def test_limits_must_be_above_nothing() -> None:
    with pytest.raises(ConfigError, match="seconds"):
        Limits(seconds=0)
