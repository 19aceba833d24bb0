"""Whatever is wrong with what a verb is given: one sentence, exit 2, nothing half written."""

import os
import shutil
from pathlib import Path

import pytest

from hanlin.tokenizers import SpecialTokens, Tokenizer
from tiny_models import CONTEXT

MODEL_VERBS = {
    "generate": ("x",),
    "chat": ("--message", "x"),
    "predict": ("-",),
}


def assert_refused(outcome, *words: str) -> None:
    """One line on standard error that says `words`, exit 2, no result and no traceback."""
    assert outcome.status == 2
    assert outcome.err.startswith("hanlin: ")
    assert outcome.err.count("\n") == 1, outcome.err
    assert "Traceback" not in outcome.err
    assert outcome.out == ""
    for word in words:
        assert word in outcome.err


def broken(directory: Path, into: Path, kind: str) -> Path:
    """A copy of a model directory with something wrong."""
    copy = shutil.copytree(directory, into / kind)
    weights = copy / "model.safetensors"
    match kind:
        case "weightless":
            weights.unlink()
        case "truncated":
            os.truncate(weights, weights.stat().st_size // 2)
        case "wrong-tokenizer":
            own = Tokenizer.load(copy)
            Tokenizer(own.backend, special=SpecialTokens(extra=("<1>", "<2>"))).save(copy)
        case "no-config":
            (copy / "config.json").unlink()
        case "no-tokenizer":
            (copy / "tokenizer.json").unlink()
    return copy


@pytest.mark.parametrize("verb", MODEL_VERBS)
@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("weightless", "no weights"),
        ("truncated", "whole safetensors"),
        ("wrong-tokenizer", "tokens"),
        ("no-config", "config.json"),
        ("no-tokenizer", "tokenizer"),
    ],
)
def test_a_broken_model(hanlin, tiny_llama, tmp_path, verb, kind, word):
    model = broken(tiny_llama, tmp_path, kind)
    assert_refused(hanlin(verb, model, *MODEL_VERBS[verb], stdin=b"x\n"), word)


@pytest.mark.parametrize("verb", MODEL_VERBS)
def test_a_missing_model(hanlin, verb, tmp_path):
    arguments = MODEL_VERBS[verb]
    assert_refused(hanlin(verb, tmp_path / "none", *arguments, stdin=b"x\n"), "no model")
    assert_refused(hanlin(verb, "minlm", *arguments, stdin=b"x\n"), "'minilm'")


@pytest.mark.parametrize("name", ["x.gguf", "x.bin"])
def test_a_file_that_is_no_model(hanlin, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"GGUF" + b"\xff" * 39)
    assert_refused(hanlin("generate", path, "x"), name)


def test_bench_and_pull_of_what_is_not_there(hanlin, tmp_path):
    assert_refused(hanlin("bench", "decode", tmp_path / "none"), "no model")
    assert_refused(hanlin("pull", "smollm2-135n"), "'smollm2-135m'")


# Words of the command line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["generat"], ["'generat'", "'generate'"]),
        (["generate"], ["MODEL", "hanlin generate --help"]),
        (["generate", "m", "p", "--top_k", "1"], ["--top-k"]),
        (["generate", "m", "p", "--top-k", "many"], ["many"]),
        (["bench", "fly"], ["fly", "decode"]),
        (["doctor", "now"], ["now"]),
        (["chat"], ["MODEL"]),
        (["predict", "m"], ["INPUT"]),
        (["pull", "a", "b"], ["b"]),
        (["--nonsense"], ["--nonsense"]),
    ],
)
def test_a_command_line_that_makes_no_sense(hanlin, arguments, words):
    assert_refused(hanlin(*arguments), *words)


def test_without_a_verb_it_shows_its_help(hanlin):
    outcome = hanlin()
    assert outcome.status == 2
    assert "generate" in outcome.err
    assert outcome.out == ""


# Prompts


@pytest.mark.parametrize("form", [(), ("--json",), ("--n", "2")])
def test_prompts_that_cannot_be_used(hanlin, tiny_llama, form):
    assert_refused(hanlin("generate", tiny_llama, "", *form), "empty")
    assert_refused(hanlin("generate", tiny_llama, "word " * 300, *form), f"{CONTEXT}")
    broken_utf8 = hanlin("generate", tiny_llama, "-", *form, stdin=b"caf\xe9 au lait")
    assert_refused(broken_utf8, "not UTF-8", "byte 3")
    assert_refused(hanlin("generate", tiny_llama, "caf\udce9", *form), "not UTF-8")


def test_settings_that_cannot_be_used(hanlin, tiny_llama):
    for option, value in (
        ("--temperature", "-1"),
        ("--top-p", "0"),
        ("--n", "0"),
        ("--max-new-tokens", "0"),
        ("--stop", ""),
        ("--seed", "-4"),
    ):
        outcome = hanlin("generate", tiny_llama, "x", option, value)
        assert_refused(outcome, option.removeprefix("--").replace("-", "_"))
    assert_refused(hanlin("generate", tiny_llama, "x", "--dtype", "int3"), "int3", "bfloat16")
    clash = hanlin("generate", tiny_llama, "x", "--temperature", "0", "--top-k", "3")
    assert_refused(clash, "top_k", "ignored")


def test_messages_that_cannot_be_used(hanlin, tiny_llama):
    assert_refused(hanlin("chat", tiny_llama, "--message", " "), "empty")
    assert_refused(hanlin("chat", tiny_llama, "--message", "word " * 300), f"{CONTEXT}")
    assert_refused(hanlin("chat", tiny_llama, "--message", "x", "--system", "\udce9"), "--system")
    assert_refused(hanlin("chat", tiny_llama, stdin=b"\xff\n"), "Line 1", "not UTF-8")


# predict


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.txt", b"good\n\nbad\n", ["row 2", "empty"]),
        ("a.txt", b"good\nb\xe9d\n", ["row 2", "not UTF-8"]),
        ("a.txt", b"", ["nothing"]),
        ("a.jsonl", b'{"text": "good"}\n{"text": 3}\n', ["row 2", '"text"']),
        ("a.jsonl", b'{"text": "good"}\n{\n', ["row 2", "not JSON"]),
        ("a.jsonl", b'{"text": "good"}\n{"text": "\\ud800"}\n', ["row 2", "surrogate"]),
        ("a.txt.gz", b"not packed", ["cannot be read to its end"]),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_written(hanlin, tiny_bert, tmp_path, name, data, words):
    source, target = tmp_path / name, tmp_path / "out.jsonl"
    source.write_bytes(data)
    target.write_text("as it was")
    outcome = hanlin("predict", tiny_bert, source, "-o", target)
    assert_refused(outcome, name, *words)
    assert target.read_text() == "as it was"
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([name, "out.jsonl"])


def test_a_failure_halfway_leaves_no_output(hanlin, tiny_masked, tmp_path):
    source, target = tmp_path / "a.txt", tmp_path / "out.jsonl"
    source.write_text("a [MASK]\n" * 300 + "no mask here\n")
    outcome = hanlin("predict", tiny_masked, source, "-o", target)
    assert_refused(outcome, "row 301", "[MASK]")
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_predict_wants_the_right_places_and_models(hanlin, tiny_llama, tiny_bert, tmp_path):
    source = tmp_path / "a.txt"
    source.write_text("x\n")
    assert_refused(hanlin("predict", tiny_llama, source), "hanlin generate")
    assert_refused(hanlin("predict", tiny_bert, tmp_path / "b.txt"), "no file")
    assert_refused(hanlin("predict", tiny_bert, source, "--top-k", "3"), "--top-k", "ignored")
    assert_refused(hanlin("predict", tiny_bert, source, "-o", tmp_path), "is a directory")
    nowhere = tmp_path / "no" / "out"
    assert_refused(hanlin("predict", tiny_bert, source, "-o", nowhere), "Could not write")


def test_a_verb_given_the_wrong_kind_of_model(hanlin, tiny_bert, tiny_llama):
    assert_refused(hanlin("generate", tiny_bert, "x"), "cannot generate", "embed")
    assert_refused(hanlin("chat", tiny_bert, "--message", "x"), "cannot chat")
    assert_refused(hanlin("bench", "decode", tiny_bert), "cannot decode")
    assert_refused(hanlin("bench", "encode", tiny_llama), "cannot encode")
    assert_refused(hanlin("bench", "decode", tiny_llama, "--tokens", "500"), f"{CONTEXT}")


def test_debug_shows_where_an_error_came_from(hanlin, tmp_path):
    for arguments in (
        ("--debug", "generate", tmp_path / "none", "x"),
        ("generate", tmp_path / "none", "x", "--debug"),
    ):
        outcome = hanlin(*arguments)
        assert outcome.status == 2
        assert "Traceback" in outcome.err
        assert outcome.err.splitlines()[-1].startswith("hanlin: ")
    literal = hanlin("generate", tmp_path / "none", "--", "--debug")
    assert "Traceback" not in literal.err
