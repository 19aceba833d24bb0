"""Filling in the middle: what the model is asked, and where its answer ends."""

from typing import Any

import pytest

from hanlin.data.middle import FORMS, Marks
from hanlin.errors import ConfigError, InputError
from hanlin.tasks import LanguageModel
from hanlin.tokenizers import train
from tiny_models import CORPUS, decoder


def model(special: tuple[str, ...]) -> LanguageModel:
    tokenizer = train(
        CORPUS, kind="bpe", vocab_size=400, special_tokens=("<|endoftext|>", *special)
    )
    network = decoder(tokenizer, num_kv_heads=4, initializer_range=0.3)
    return LanguageModel(network, tokenizer, name="tiny")


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form[0])
@pytest.mark.parametrize("mode", ["psm", "spm"])
def test_it_is_asked_in_the_models_own_marks(
    form: tuple[str, str, str], mode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = model(form)
    before, after = "def f(x):\n    ", "\n    return y  # 词元"
    pre, suf, mid = form
    asked = f"{pre}{before}{suf}{after}{mid}"
    if mode == "spm":
        asked = f"{pre}{suf}{after}{mid}{before}"
    [found] = lm.infill(before, after, mode=mode, temperature=0, max_new_tokens=8)
    # The same as going on from the marked text, where no mark stops it.
    [want] = lm.generate(asked, temperature=0, max_new_tokens=8)
    shared = len(found.tokens)
    assert found.tokens == want.tokens[:shared]
    assert found.prompt_tokens == want.prompt_tokens
    assert found.finish_reason == "stop" or shared == 8


def test_marks_and_ends_stop_it() -> None:
    lm = model((*FORMS[0], "<file_sep>"))
    marks = Marks.of(lm.tokenizer)
    ends = {marks.prefix, marks.suffix, marks.middle, lm.tokenizer.id("<file_sep>")}
    for seed in range(8):
        [found] = lm.infill("def f", "\n", seed=seed, temperature=5.0, max_new_tokens=80)
        assert not ends & set(found.tokens[:-1])
        assert not ends & set(lm.tokenizer.encode(found.text, add_special_tokens=False))


def test_several_middles_at_once() -> None:
    lm = model(FORMS[1])
    found = lm.infill("def f", "\n", n=3, temperature=1.0, seed=1, max_new_tokens=5)
    assert len(found) == 3


def test_what_cannot_be_asked_is_refused() -> None:
    lm = model(())
    with pytest.raises(InputError, match="<fim_prefix>"):
        lm.infill("a", "b")
    lm = model(FORMS[0])
    with pytest.raises(InputError, match="neither"):
        lm.infill("", "")
    with pytest.raises(ConfigError, match="psm or spm"):
        lm.infill("a", "b", mode="msp")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="96"):
        lm.infill("word " * 100, "b")
