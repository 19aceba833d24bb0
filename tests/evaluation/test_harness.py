"""hanlin's model object under lm-evaluation-harness, beside the harness's own of the same weights.

Everything is local: the model, the tasks, their files.
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from local_tasks import answers, ask, harness_model, lm_eval

from hanlin.errors import ConfigError, InputError
from hanlin.models.directory import save_directory
from hanlin.tokenizers import SpecialTokens, Tokenizer, train
from hanlin.tokenizers.bytelevel import around
from tiny_models import CORPUS, TEMPLATE, decoder, save_decoder, save_encoder

CHOICE = """
output_type: multiple_choice
test_split: test
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_target: "{{answer}}"
doc_to_choice: "{{options}}"
metric_list:
  - metric: acc
  - metric: acc_norm
"""
ROLLING = """
output_type: loglikelihood_rolling
test_split: test
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list:
  - metric: bits_per_byte
  - metric: word_perplexity
"""
WRITING = """
output_type: generate_until
test_split: test
doc_to_text: "{{text}}"
doc_to_target: "{{answer}}"
generation_kwargs:
  until: [" the", "。"]
  do_sample: false
  max_gen_toks: 24
metric_list:
  - metric: exact_match
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_decoder(tmp_path_factory.mktemp("tiny") / "llama")


@pytest.fixture(scope="module")
def ours(directory: Path) -> Any:
    from hanlin.evaluation.harness import HarnessModel

    return HarnessModel(str(directory), batch_size=8)


@pytest.fixture(scope="module")
def theirs(directory: Path) -> Any:
    return harness_model(directory)


def begun(directory: Path) -> Path:
    """A Llama whose tokenizer puts a begin token of its own before every text."""
    names = ["<|endoftext|>", "<s>"]
    backend = train(CORPUS, kind="bpe", vocab_size=400, special_tokens=names).backend
    around(backend, before=["<s>"])
    tokenizer = Tokenizer(backend, special=SpecialTokens(bos="<s>", eos="<|endoftext|>"))
    network = decoder(tokenizer, bos_id=tokenizer.bos_id)
    return save_directory(network, directory, tokenizer=tokenizer)


def t5(directory: Path) -> Path:
    """A T5 whose tokenizer puts an end token after every text."""
    import torch
    import transformers

    backend = train(CORPUS, kind="bpe", vocab_size=400, special_tokens=["<pad>", "</s>"]).backend
    around(backend, after=["</s>"])
    tokenizer = Tokenizer(backend, special=SpecialTokens(eos="</s>", pad="<pad>"))
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=tokenizer.vocab_size, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4,
        decoder_start_token_id=tokenizer.pad_id, eos_token_id=tokenizer.eos_id,
        pad_token_id=tokenizer.pad_id, initializer_factor=3.0,
    )  # fmt: skip
    transformers.T5ForConditionalGeneration(config).eval().save_pretrained(directory)
    tokenizer.save(directory)
    return directory


@pytest.fixture(scope="module")
def ours_and_theirs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Any]]:
    """The two of other kinds, ours beside the harness's."""
    from hanlin.evaluation.harness import HarnessModel

    folder = tmp_path_factory.mktemp("kinds")
    made = {"begin token": begun(folder / "begun"), "T5": t5(folder / "t5")}
    return {kind: (HarnessModel(path), harness_model(path)) for kind, path in made.items()}


@pytest.fixture
def choices(tmp_path: Path) -> Path:
    rows = [
        {
            "question": text[: 20 + 7 * number],
            "options": [text[14:22], "word " * (number + 1), "词元", "b"],
            "answer": number % 4,
        }
        for number, text in enumerate(CORPUS[:9])
    ]
    return written(tmp_path / "choices.jsonl", rows)


def written(file: Path, rows: list[dict[str, Any]]) -> Path:
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    file.write_text("".join(lines), encoding="utf-8")
    return file


def numbers(values: list[Any]) -> list[float]:
    return [float(number) for each in values for number, _ in each]


def test_choices_have_the_same_log_likelihoods(
    ours: Any, theirs: Any, choices: Path, tmp_path: Path
) -> None:
    for shots in (0, 2):
        got, want = (
            ask(lm, tmp_path, "choices", CHOICE, {"test": choices}, num_fewshot=shots)
            for lm in (ours, theirs)
        )
        mine, other = answers(got, "choices"), answers(want, "choices")
        assert numbers(mine) == pytest.approx(numbers(other), abs=1e-4)
        assert [g for each in mine for _, g in each] == [g for each in other for _, g in each]
        for metric in ("acc,none", "acc_norm,none"):
            assert got["results"]["choices"][metric] == want["results"]["choices"][metric]


def test_whole_texts_have_the_same_likelihood_in_windows(
    ours: Any, theirs: Any, tmp_path: Path
) -> None:
    rows = [{"text": text} for text in (CORPUS[0], "short", " ".join(CORPUS), CORPUS[3] * 3)]
    file = written(tmp_path / "texts.jsonl", rows)
    got, want = (ask(lm, tmp_path, "rolling", ROLLING, {"test": file}) for lm in (ours, theirs))
    for metric in ("bits_per_byte,none", "word_perplexity,none"):
        assert got["results"]["rolling"][metric] == pytest.approx(
            want["results"]["rolling"][metric], rel=1e-4
        )
    mine, other = answers(got, "rolling"), answers(want, "rolling")
    for (a,), (b,) in zip(mine, other, strict=True):
        assert float(a) == pytest.approx(float(b), rel=1e-5, abs=1e-4)


def test_it_writes_the_same_greedy_texts(ours: Any, theirs: Any, tmp_path: Path) -> None:
    rows = [{"text": text[: 10 + 5 * n], "answer": "x"} for n, text in enumerate(CORPUS[:8])]
    rows.append({"text": " ".join(CORPUS), "answer": "x"})  # longer than the context
    file = written(tmp_path / "prompts.jsonl", rows)
    got, want = (ask(lm, tmp_path, "writing", WRITING, {"test": file}) for lm in (ours, theirs))
    mine, other = answers(got, "writing"), answers(want, "writing")
    assert mine == other
    assert any(text for [text] in mine)


def both(pair: tuple[Any, Any], question: str, arguments: list[tuple[Any, ...]]) -> list[Any]:
    """What ours and the harness's answer; asked without a task, which takes a second to load."""
    requests = [SimpleNamespace(args=each) for each in arguments]
    return [getattr(lm, question)(requests, disable_tqdm=True) for lm in pair]


@pytest.mark.parametrize("kind", ["begin token", "T5"])
def test_other_kinds_have_the_same_log_likelihoods(
    kind: str, ours_and_theirs: dict[str, tuple[Any, Any]]
) -> None:
    asked = [
        (text[: 20 + 9 * n], option)
        for n, text in enumerate(CORPUS[:6])
        for option in (" " + text[14:22], " 词元", "b")
    ]
    asked += [(" ".join(CORPUS), " a word"), ("A space ", "and more"), ("", "The academy")]
    mine, other = both(ours_and_theirs[kind], "loglikelihood", asked)
    assert [ll for ll, _ in mine] == pytest.approx([ll for ll, _ in other], abs=1e-4)
    assert [greedy for _, greedy in mine] == [greedy for _, greedy in other]


def test_a_begin_token_stands_before_whole_texts_and_prompts(
    ours_and_theirs: dict[str, tuple[Any, Any]],
) -> None:
    texts = [text[: 9 + 5 * n] for n, text in enumerate(CORPUS[:6])]
    texts.append(" ".join(CORPUS))  # longer than the context
    pair = ours_and_theirs["begin token"]
    mine, other = both(pair, "loglikelihood_rolling", [(text,) for text in texts])
    assert mine == pytest.approx(other, rel=1e-5, abs=1e-4)
    settings = {"until": [" the", "。"], "do_sample": False, "max_gen_toks": 24}
    mine, other = both(pair, "generate_until", [(text, dict(settings)) for text in texts])
    assert mine == other


def test_a_t5_writes_what_it_writes_for_the_harness(
    ours_and_theirs: dict[str, tuple[Any, Any]],
) -> None:
    settings = {"until": [" the", "。"], "do_sample": False, "max_gen_toks": 24}
    texts = [(text[: 9 + 5 * n], dict(settings)) for n, text in enumerate(CORPUS[:6])]
    found = both(ours_and_theirs["T5"], "generate_until", texts)
    # The harness counts the source into an answer's length, so that its answers go on for longer.
    for mine, other in zip(*found, strict=True):
        assert other.startswith(mine)
        assert mine


def test_rows_are_read_together_as_the_batch_says(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hanlin.evaluation.harness import HarnessModel

    requests = [SimpleNamespace(args=(text[: 12 + n],)) for n, text in enumerate(CORPUS[:10])]
    model, found = HarnessModel(directory), []
    hidden = model.lm.network.hidden
    for size, rows in ((32, [10]), (4, [4, 4, 2]), (1, [1] * 10)):
        model.batch_size = size
        seen: list[int] = []
        monkeypatch.setattr(
            model.lm.network,
            "hidden",
            lambda ids, *rest, seen=seen: seen.append(len(ids)) or hidden(ids, *rest),
        )
        found.append(model.loglikelihood_rolling(requests))
        assert seen == rows
    assert found[0] == pytest.approx(found[1], abs=1e-4)
    assert found[0] == pytest.approx(found[2], abs=1e-4)


def test_conversations_are_rendered_alike(
    ours: Any, theirs: Any, choices: Path, tmp_path: Path
) -> None:
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello "}]
    answer = [*turns, {"role": "assistant", "content": "It is"}]
    assert ours.apply_chat_template(turns) == theirs.apply_chat_template(turns)
    assert ours.apply_chat_template(answer, add_generation_prompt=False) == (
        theirs.apply_chat_template(answer, add_generation_prompt=False)
    )
    assert ours.chat_template(True) == TEMPLATE
    assert ours.tokenizer_name
    got, want = (
        ask(lm, tmp_path, "chatted", CHOICE, {"test": choices}, apply_chat_template=True)
        for lm in (ours, theirs)
    )
    assert numbers(answers(got, "chatted")) == pytest.approx(
        numbers(answers(want, "chatted")), abs=1e-4
    )


def test_the_batch_changes_nothing(directory: Path, choices: Path, tmp_path: Path) -> None:
    from hanlin.evaluation.harness import HarnessModel

    one, many = (
        answers(ask(HarnessModel(directory, batch_size=size), tmp_path, "batch", CHOICE,
                    {"test": choices}), "batch")
        for size in (1, 32)
    )  # fmt: skip
    assert numbers(one) == pytest.approx(numbers(many), abs=1e-4)


def test_a_question_asked_twice_is_answered_by_two_draws(ours: Any) -> None:
    settings = {"do_sample": True, "temperature": 1.0, "max_gen_toks": 12, "until": []}
    requests = [SimpleNamespace(args=("The academy", settings))] * 3
    texts = ours.generate_until(requests)
    assert len(set(texts)) > 1
    assert texts == ours.generate_until(requests)
    greedy = [SimpleNamespace(args=("The academy", {"until": [], "max_gen_toks": 4}))] * 2
    assert len(set(ours.generate_until(greedy))) == 1


def test_the_harness_knows_it_by_name(directory: Path) -> None:
    from hanlin.evaluation.harness import HarnessModel

    model = lm_eval.api.registry.get_model("hanlin")
    assert model is HarnessModel
    made = model.create_from_arg_string(
        f"pretrained={directory},max_length=32", {"batch_size": "4", "device": "cpu"}
    )
    assert (made.max_length, made.batch_size) == (32, 4)


def test_its_own_command_knows_the_model_and_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    from hanlin.evaluation import harness

    seen = []
    monkeypatch.setattr("lm_eval.__main__.cli_evaluate", lambda: seen.append(list(sys.argv)))
    monkeypatch.setattr(sys, "argv", ["x", "run", "--model", "hanlin", "--tasks", "piqa"])
    harness.main()
    monkeypatch.setattr(sys, "argv", ["x", "run", "--model", "hanlin", "--device", "cpu"])
    harness.main()
    monkeypatch.setattr(sys, "argv", ["x", "ls", "tasks"])
    harness.main()
    assert [words[-2:] for words in seen] == [["--device", "cpu"]] * 2 + [["ls", "tasks"]]
    assert seen[1].count("--device") == 1


def test_what_cannot_be_is_refused(directory: Path, ours: Any, tmp_path: Path) -> None:
    from hanlin.evaluation.harness import HarnessModel

    with pytest.raises(ConfigError, match="cuda"):
        HarnessModel(directory, device="cuda")
    with pytest.raises(ConfigError, match="max_length is 10000"):
        HarnessModel(directory, max_length=10000)
    with pytest.raises(ConfigError, match="batch_size"):
        HarnessModel(directory, batch_size="many")
    with pytest.raises(InputError, match="language model"):
        HarnessModel(save_encoder(tmp_path / "bert"))
    with pytest.raises(ConfigError, match="max_gen_toks"):
        ours.generate_until([SimpleNamespace(args=("a", {"max_gen_toks": 4096}))])
    with pytest.raises(ConfigError, match="top_z"):
        ours.generate_until([SimpleNamespace(args=("a", {"top_z": 1, "max_gen_toks": 4}))])
