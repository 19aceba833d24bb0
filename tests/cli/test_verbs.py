"""Each verb, run in this process on tiny models."""

import json

import numpy as np
import pytest

import hanlin as library
from hanlin import __version__
from hanlin.cli.group import VERBS
from hanlin.data.middle import FORMS
from hanlin.models.directory import save_directory
from hanlin.models.named import NAMED
from hanlin.tokenizers import Tokenizer
from tiny_models import decoder


def test_help_lists_every_verb_in_both_languages(hanlin, monkeypatch):
    outcome = hanlin("--help")
    assert outcome.status == 0
    for verb, (english, _) in VERBS.items():
        assert verb in outcome.out
        assert english in outcome.out
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    chinese = hanlin("--help").out
    for _, about in VERBS.values():
        assert about in chinese


def test_every_verb_has_help(hanlin):
    for verb in VERBS:
        outcome = hanlin(verb, "--help")
        assert (outcome.status, outcome.err) == (0, ""), verb
        assert f"Usage: hanlin {verb}" in outcome.out


def test_version(hanlin):
    assert hanlin("--version").out == f"hanlin {__version__}\n"


# pull


def test_pull_without_a_name_lists_the_named_models(hanlin, monkeypatch):
    outcome = hanlin("pull", "--json")
    assert [model["name"] for model in outcome.json["models"]] == list(NAMED)
    text = hanlin("pull").out
    for name, model in NAMED.items():
        assert name in text
        assert model.about in text
        assert model.licence in text
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    assert all(model.about_zh in hanlin("pull").out for model in NAMED.values())


@pytest.mark.real
def test_pull_gives_the_path(hanlin, minilm_dir):
    assert hanlin("pull", "minilm", "--json").json["path"] == str(minilm_dir)


# generate


def test_generate_prints_what_the_library_generates(hanlin, tiny_llama):
    [want] = library.load(tiny_llama).generate("The academy", max_new_tokens=7, ignore_eos=True)
    arguments = ("generate", tiny_llama, "The academy", "--max-new-tokens", 7, "--ignore-eos")
    assert hanlin(*arguments).out == want.text + "\n"
    piped = hanlin("generate", tiny_llama, "-", *arguments[3:], stdin=b"The academy")
    assert piped.out == want.text + "\n"
    data = hanlin(*arguments, "--json").json
    assert data["outputs"] == [
        {"text": want.text, "tokens": list(want.tokens), "finish_reason": "length"}
    ]
    assert data["usage"] == {"prompt_tokens": want.prompt_tokens, "completion_tokens": 7}


def test_generate_several_with_a_seed(hanlin, tiny_llama):
    arguments = ("generate", tiny_llama, "A token", "--n", 3, "--seed", 5, "--max-new-tokens", 6)
    first, second = hanlin(*arguments, "--json").json, hanlin(*arguments, "--json").json
    assert first == second
    assert first["seed"] == 5
    assert len({o["text"] for o in first["outputs"]}) > 1
    text = hanlin(*arguments).out
    assert all(f"[{i}] {o['text']}" in text for i, o in enumerate(first["outputs"], 1))


def test_a_seed_that_a_greedy_model_would_ignore_is_said(hanlin, tiny_llama):
    arguments = ("generate", tiny_llama, "A token", "--max-new-tokens", 3, "--seed", 5)
    assert "--seed" not in hanlin(*arguments, "--temperature", 0.5).err
    done = hanlin(*arguments, "--temperature", 0)
    assert done.status == 0
    assert "--seed changes nothing" in done.err


def test_generate_passes_on_every_setting(hanlin, tiny_llama, monkeypatch):
    seen = {}

    def remember(self, prompt, **settings):
        seen.update(settings)
        return original(self, prompt, max_new_tokens=1)

    from hanlin.tasks import LanguageModel

    original = LanguageModel.generate
    monkeypatch.setattr(LanguageModel, "generate", remember)
    given = {
        "max_new_tokens": 3,
        "temperature": 0.5,
        "top_k": 4,
        "top_p": 0.5,
        "min_p": 0.1,
        "repetition_penalty": 1.1,
        "frequency_penalty": 0.5,
        "presence_penalty": 0.25,
        "n": 2,
        "seed": 9,
    }
    options = [
        word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", value)
    ]
    outcome = hanlin("generate", tiny_llama, "x", *options, "--stop", "a", "--stop", "b", "--json")
    assert outcome.status == 0
    assert seen == {**given, "stop": ("a", "b")}


def test_generate_fills_in_what_belongs_before_a_suffix(hanlin, tiny_llama, tmp_path):
    tokenizer = Tokenizer.load(tiny_llama).with_special(FORMS[0])
    save_directory(decoder(tokenizer), tmp_path / "code", tokenizer=tokenizer)
    asked = ("The academy", "--max-new-tokens", 6, "--temperature", 0, "--suffix", "words\n")
    [want] = library.load(tmp_path / "code").infill(
        "The academy", "words\n", max_new_tokens=6, temperature=0
    )
    outcome = hanlin("generate", tmp_path / "code", *asked)
    assert (outcome.status, outcome.out) == (0, f"{want.text}\n")
    drawn = ("--n", 2, "--seed", 3, "--temperature", 0.9, "--json")
    told = hanlin("generate", tmp_path / "code", *asked, *drawn).json
    assert len(told["outputs"]) == 2
    assert told["usage"]["prompt_tokens"] == want.prompt_tokens
    [other] = library.load(tmp_path / "code").infill(
        "The academy", "words\n", mode="spm", max_new_tokens=6, temperature=0
    )
    outcome = hanlin("generate", tmp_path / "code", *asked, "--mode", "spm")
    assert outcome.out == f"{other.text}\n"
    outcome = hanlin("generate", tmp_path / "code", "The academy", "--mode", "spm")
    assert outcome.status == 2
    assert "--mode is for --suffix" in outcome.err
    # An empty suffix is one, too: what belongs at the end.
    assert hanlin("generate", tmp_path / "code", *asked[:-1], "").status == 0
    outcome = hanlin("generate", tiny_llama, *asked)
    assert outcome.status == 2
    assert "special_tokens: [<fim_prefix>" in outcome.err
    assert hanlin("generate", tmp_path / "code", *asked[:-1], "\udcff").status == 2


def test_beams(hanlin, tiny_llama):
    arguments = ("--beams", 3, "--length-penalty", 0.5, "--max-new-tokens", 5)
    outcome = hanlin("generate", tiny_llama, "A token", *arguments, "--json")
    want = library.load(tiny_llama).generate(
        "A token", beams=3, length_penalty=0.5, max_new_tokens=5
    )
    assert [tuple(o["tokens"]) for o in outcome.json["outputs"]] == [g.tokens for g in want]


# predict


def test_predict_gives_vectors(hanlin, tiny_bert, tmp_path):
    lines = ["The academy", "什么是词元", "a b c"]
    source = tmp_path / "lines.txt"
    source.write_text("\n".join(lines) + "\n", encoding="utf-8")
    outcome = hanlin("predict", tiny_bert, source)
    got = np.array([json.loads(line)["embedding"] for line in outcome.out.splitlines()])
    np.testing.assert_allclose(got, library.load(tiny_bert).embed(lines), atol=1e-6)
    piped = hanlin("predict", tiny_bert, "-", stdin=source.read_bytes())
    assert piped.out == outcome.out


def test_predict_fills_masks_and_writes_a_file(hanlin, tiny_masked, tmp_path):
    source, target = tmp_path / "lines.jsonl", tmp_path / "out.jsonl"
    texts = ["A [MASK] is a word", "[MASK] and [MASK]"]
    source.write_text("".join(json.dumps({"text": t, "id": 1}) + "\n" for t in texts))
    outcome = hanlin("predict", tiny_masked, source, "-o", target, "--top-k", 2, "--json")
    assert outcome.json == {"path": str(target), "inputs": 2}
    results = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    want = [library.load(tiny_masked).fill(text, top_k=2) for text in texts]
    assert [[len(g) for g in r["fill"]] for r in results] == [[2], [2, 2]]
    assert results[0]["fill"][0][0]["token"] == want[0][0][0].token
    assert set(results[0]["fill"][0][0]) == {"token", "score", "text"}


def test_predict_labels(hanlin, tiny_classifier):
    outcome = hanlin("predict", tiny_classifier, "-", stdin="great\n太差了\n".encode())
    results = [json.loads(line) for line in outcome.out.splitlines()]
    want = library.load(tiny_classifier)(["great", "太差了"])
    assert [r["label"] for r in results] == [label.name for label in want]
    assert all(sum(r["scores"].values()) == pytest.approx(1) for r in results)
    assert all(r["score"] == max(r["scores"].values()) for r in results)


# doctor, bench


def test_doctor_checks_the_machine(hanlin, monkeypatch, tmp_path):
    monkeypatch.setenv("HANLIN_CACHE", str(tmp_path / "empty"))
    data = hanlin("doctor", "--json").json
    checks = {check["name"]: check for check in data["checks"]}
    assert checks["Python"]["status"] == "ok"
    assert checks["minilm"]["status"] == "warning"
    assert checks["minilm"]["remedy"] == "hanlin pull minilm"
    assert data["read_bytes_per_second"] > 1e8
    assert data["float32_flops"] > 1e8
    assert not (tmp_path / "empty").exists(), "looking leaves nothing behind"


@pytest.mark.parametrize("what", ["decode", "prefill", "encode"])
def test_bench_stands_beside_the_limit(hanlin, tiny_llama, tiny_bert, what):
    model = tiny_bert if what == "encode" else tiny_llama
    tokens = () if what == "encode" else ("--tokens", 16)
    data = hanlin("bench", what, model, *tokens, "--repeats", 2, "--json").json
    assert data["low"] <= data["tokens_per_second"] <= data["high"]
    assert data["fraction"] == pytest.approx(data["tokens_per_second"] / data["limit"])
    assert data["limit"] > 0


def test_bench_counts_the_weights_a_token_reads(tiny_llama):
    from hanlin.cli.bench import _decoded_bytes, _flops

    lm = library.load(tiny_llama, dtype="float32")
    config = lm.network.config
    blocks = 2 * (32 * 32 * 2 + 32 * 16 * 2 + 32 * 48 * 3)
    norms = 32 * 5
    assert _decoded_bytes(lm) == 4 * (blocks + norms + config.vocab_size * 32)
    assert _flops(lm, 10) == 2 * blocks + 4 * 5 * 2 * 32
