"""The command as a process: how fast it is there, what pipes, disks and signals do to it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

MAIN = "from hanlin.cli import main; main()"


def process(*arguments: object, environment: dict[str, str] | None = None, **options):
    """Run the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", MAIN, *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "LC_ALL": "C.UTF-8", **(environment or {})},
        capture_output="stdout" not in options,
        timeout=120,
        **options,
    )


def test_help_imports_nothing_heavy():
    code = (
        "import sys\n"
        "from hanlin.cli import run\n"
        "assert run(['--help']) == 0\n"
        "heavy = {'torch', 'numpy', 'jinja2', 'tokenizers', 'safetensors', 'huggingface_hub'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_help_of_verbs_and_wrong_words_do_not_import_torch():
    code = (
        "import sys\n"
        "from hanlin.cli import run\n"
        "for verb in ('pull', 'generate', 'chat', 'predict', 'bench', 'doctor'):\n"
        "    assert run([verb, '--help']) == 0\n"
        "    assert run([verb, '--nonsense']) == 2\n"
        "assert run(['pull']) == 0\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_an_output_that_is_not_utf8_gets_question_marks_or_escapes(tiny_masked):
    western = {"PYTHONIOENCODING": "latin-1", "LC_ALL": "zh_CN.UTF-8"}
    help_text = process("--help", environment=western)
    assert (help_text.returncode, help_text.stderr) == (0, b"")
    assert b"?" in help_text.stdout
    ascii_only = {"PYTHONIOENCODING": "ascii"}
    line = "翰林 [MASK]\n".encode()
    outcome = process("predict", tiny_masked, "-", environment=ascii_only, input=line)
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.isascii()
    assert "翰林" in json.loads(outcome.stdout)["fill"][0][0]["text"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_a_full_disk_is_one_line():
    with open("/dev/full", "w") as full:
        outcome = process("pull", stdout=full, stderr=subprocess.PIPE)
    assert outcome.returncode == 2
    assert outcome.stderr.startswith(b"hanlin: No space left on device. Free some space")
    assert outcome.stderr.count(b"\n") == 1


def test_a_reader_that_leaves_is_no_error():
    reading, writing = os.pipe()
    os.close(reading)
    try:
        outcome = process("pull", stdout=writing, stderr=subprocess.PIPE)
    finally:
        os.close(writing)
    assert outcome.stderr == b""
    assert outcome.returncode == 141


def test_ctrl_c_ends_quietly_with_130(tiny_llama):
    code = (
        "import signal, os, hanlin.tasks.loading\n"
        "hanlin.tasks.loading.resolve = lambda ref: os.kill(os.getpid(), signal.SIGINT)\n" + MAIN
    )
    outcome = subprocess.run(
        [sys.executable, "-c", code, "generate", str(tiny_llama), "x"],
        capture_output=True,
        timeout=120,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (130, b"", b"")


def test_arguments_that_are_not_utf8_are_one_line(tiny_llama):
    outcome = subprocess.run(
        [sys.executable, "-c", MAIN, "generate", str(tiny_llama).encode(), b"caf\xe9"],
        env={**os.environ, "LC_ALL": "C.UTF-8"},
        capture_output=True,
        timeout=120,
    )
    assert outcome.returncode == 2
    assert outcome.stderr.startswith(b"hanlin: PROMPT is not UTF-8.")
    assert outcome.stderr.count(b"\n") == 1
