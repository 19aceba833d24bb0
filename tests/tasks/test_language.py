"""Language models: what `generate`, `stream`, `chat` and `score` promise, on tiny random ones."""

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import hanlin
from hanlin.errors import ConfigError, FormatError, InputError
from hanlin.tasks import LanguageModel
from hanlin.tasks.scoring import windows
from hanlin.tasks.settings import DEFAULTS, sampling_of
from tiny_models import CONTEXT, save_decoder

TEXT = "The academy drafted, examined and explained the words of the emperor; 什么是词元？"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_decoder(tmp_path_factory.mktemp("tiny") / "llama")


@pytest.fixture(scope="module")
def lm(directory: Path) -> LanguageModel:
    model = hanlin.load(directory, dtype="float32")
    assert isinstance(model, LanguageModel)
    return model


@pytest.fixture(scope="module")
def reference(directory: Path):
    transformers = pytest.importorskip("transformers")
    return transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()


def reference_logprobs(reference, ids: list[int]) -> torch.Tensor:
    """Log probability of ids[1:], each given those before, by transformers."""
    with torch.no_grad():
        logs = reference(torch.tensor([ids])).logits[0, :-1].double().log_softmax(-1)
    return logs.gather(1, torch.tensor(ids[1:]).unsqueeze(1))[:, 0]


# Writing


def test_several_prompts_give_a_flat_list_in_their_order(lm):
    prompts = ["The academy", "A token is", "翰林"]
    settings = {"temperature": 1.0, "seed": 3, "max_new_tokens": 6}
    together = lm.generate(prompts, n=2, **settings)
    apart = [g for prompt in prompts for g in lm.generate(prompt, n=2, **settings)]
    assert [g.tokens for g in together] == [g.tokens for g in apart]
    assert len(together) == 6


def test_greedy_is_what_transformers_writes(lm, reference):
    ids = lm.tokenizer.encode(TEXT)
    want = reference.generate(
        torch.tensor([ids]), max_new_tokens=12, do_sample=False, eos_token_id=None
    )[0, len(ids) :].tolist()
    [got] = lm.generate(TEXT, temperature=0, max_new_tokens=12, ignore_eos=True)
    assert list(got.tokens) == want


def test_a_stream_put_together_is_what_generate_gives(lm):
    settings = {"temperature": 1.0, "seed": 11, "max_new_tokens": 30}
    [whole] = lm.generate("什么是", **settings)
    pieces = list(lm.stream("什么是", **settings))
    assert "".join(p.text for p in pieces) == whole.text
    assert tuple(t for p in pieces for t in p.tokens) == whole.tokens
    assert pieces[-1].finish_reason == whole.finish_reason


def test_chat_continues_the_rendered_conversation(lm):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    rendered = "<|system|>Be brief.\n<|user|>Hello\n<|assistant|>"
    ids = lm.tokenizer.encode(rendered, add_special_tokens=False)
    assert lm.encode_chat(messages) == ids
    answer = lm.chat(messages, temperature=0, max_new_tokens=8)
    assert answer.prompt_tokens == len(ids)
    streamed = "".join(p.text for p in lm.stream_chat(messages, temperature=0, max_new_tokens=8))
    assert streamed == answer.text
    assert lm.encode_chat("Hello") == lm.encode_chat([{"role": "user", "content": "Hello"}])


# Settings


def test_without_a_generation_config_the_documented_defaults_hold():
    settings = sampling_of(None, {})
    assert (settings.temperature, settings.top_p) == (DEFAULTS["temperature"], DEFAULTS["top_p"])


def test_the_directory_says_the_defaults_and_keywords_override_them(tmp_path):
    config = {"do_sample": True, "temperature": 0.3, "top_k": 7, "max_new_tokens": 4}
    lm = hanlin.load(save_decoder(tmp_path / "m", generation=config))
    assert (lm.settings().temperature, lm.settings().top_k) == (0.3, 7)
    assert lm.settings(top_k=2).top_k == 2
    assert len(lm.generate("The", ignore_eos=True)[0].tokens) == 4


def test_asking_to_shape_the_draw_means_drawing():
    greedy = {"eos_token_id": 0}
    assert sampling_of(greedy, {}).temperature == 0
    assert sampling_of(greedy, {"top_k": 5}).temperature == 1
    assert sampling_of(greedy, {"n": 3}).temperature == 1
    assert sampling_of(greedy, {"n": 3, "beams": 3}).temperature == 0


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ({"temprature": 1}, "'temperature'"),
        ({"temperature": 0, "top_k": 5}, "top_k"),
        ({"temperature": 0, "n": 2}, "2 times"),
        ({"temperature": -1}, "temperature is -1"),
        ({"temperature": "hot"}, "temperature is 'hot'"),
        ({"temperature": None}, "temperature is None"),
        ({"beams": "many"}, "beams is 'many'"),
    ],
)
def test_a_setting_that_cannot_be_followed_is_refused_by_name(overrides, named):
    with pytest.raises(ConfigError, match=named):
        sampling_of(None, overrides)


# Prompts that cannot be used


def test_bad_prompts_are_refused_in_a_sentence(lm):
    with pytest.raises(InputError, match="empty"):
        lm.generate("")
    with pytest.raises(InputError, match=rf"{CONTEXT}"):
        lm.generate("token " * 200)
    with pytest.raises(InputError, match="surrogate"):
        lm.generate("a\ud800")
    with pytest.raises(InputError, match="type int"):
        lm.generate(3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="number 2"):
        lm.generate(["a", b"b"])  # type: ignore[list-item]
    with pytest.raises(InputError, match="no role"):
        lm.chat([{"content": "x"}])
    with pytest.raises(InputError, match="no messages"):
        lm.chat([])


def test_a_model_without_a_template_cannot_chat(tmp_path):
    lm = hanlin.load(save_decoder(tmp_path / "m", chat=False))
    with pytest.raises(InputError, match="no chat template"):
        lm.chat("Hello")


def test_what_a_model_cannot_do_says_what_it_can(lm):
    with pytest.raises(InputError, match=r"cannot embed; it can generate, .*score.*minilm"):
        lm.embed("x")
    with pytest.raises(InputError, match="cannot be called"):
        lm("x")
    assert not hasattr(lm, "fill")
    with pytest.raises(AttributeError):
        lm.no_such_thing  # noqa: B018


# Scores


def test_a_text_is_scored_after_the_begin_token(lm, reference):
    score = lm.score(TEXT)
    ids = lm.tokenizer.encode(TEXT)
    want = reference_logprobs(reference, [lm.tokenizer.bos_id, *ids])
    assert score.tokens == tuple(ids)
    assert score.logprobs == pytest.approx(want.tolist(), abs=1e-4)
    assert score.log_likelihood == pytest.approx(want.sum().item(), abs=1e-3)
    assert score.bytes == len(TEXT.encode())
    assert score.perplexity == pytest.approx(math.exp(-want.mean().item()), rel=1e-3)
    bits = -want.sum().item() / math.log(2) / len(TEXT.encode())
    assert score.bits_per_byte == pytest.approx(bits, rel=1e-4)


@pytest.mark.parametrize("cut", [3, 11, 20, len(TEXT) - 2])
def test_a_continuation_is_scored_as_the_end_of_one_text(lm, reference, cut):
    context, continuation = TEXT[:cut], TEXT[cut:]
    score = lm.score(context, continuation)
    ids = lm.tokenizer.encode(TEXT)
    first = len(ids) - len(score.tokens)
    assert score.tokens == tuple(ids[first:])
    # All of the continuation, and no token that lies wholly in the context.
    spelt = b"".join(lm.tokenizer.token_bytes(t) for t in score.tokens)
    extra = len(spelt) - len(continuation.encode())
    assert 0 <= extra < len(lm.tokenizer.token_bytes(score.tokens[0]))
    want = reference_logprobs(reference, ids)[first - 1 :]
    assert score.logprobs == pytest.approx(want.tolist(), abs=1e-4)
    assert score.bytes == len(continuation.encode())


def test_greedy_continuations_are_known_as_such(lm, reference):
    ids = lm.tokenizer.encode("The academy")
    with torch.no_grad():
        logits = reference(torch.tensor([ids])).logits[0, -1]
    by_likelihood = logits.argsort(descending=True).tolist()
    vocabulary = [t for t in by_likelihood if lm.tokenizer.token_bytes(t).decode("utf8", "ignore")]
    found = {}
    for token in vocabulary[:50]:
        word = lm.tokenizer.decode([token])
        if lm.tokenizer.encode("The academy" + word) == [*ids, token]:
            found[token] = lm.score("The academy", word).is_greedy
    assert found
    assert found == {token: token == by_likelihood[0] for token in found}


def test_a_text_longer_than_the_context_is_read_in_windows(lm, reference):
    text = TEXT * 12
    score = lm.score(text)
    ids = [lm.tokenizer.bos_id, *lm.tokenizer.encode(text)]
    assert len(ids) > 3 * CONTEXT
    assert len(score.logprobs) == len(ids) - 1
    want: list[float] = []
    for window in windows(1, len(ids), CONTEXT):
        logs = reference_logprobs(reference, ids[window.begin : window.end])
        want += logs[window.first - window.begin - 1 :].tolist()
    assert score.logprobs == pytest.approx(want, abs=1e-4)


@given(
    context=st.integers(1, 40), length=st.integers(2, 300), share=st.floats(0, 1, exclude_max=True)
)
def test_windows_score_each_token_once_after_at_least_half_a_context(context, length, share):
    first = 1 + int(share * (length - 1))
    cut = windows(first, length, context)
    scored = [i for w in cut for i in range(w.first, w.end)]
    assert scored == list(range(first, length))
    for w in cut:
        assert 0 <= w.begin < w.first < w.end
        assert w.end - 1 - w.begin <= context, "what is read before the last scored token fits"
        assert w.begin == 0 or w.first - w.begin >= context // 2


def test_nothing_to_score_is_refused(lm):
    with pytest.raises(InputError, match="no tokens"):
        lm.score("")
    with pytest.raises(InputError, match="no tokens"):
        lm.score("some context", "")


# Loading


def test_a_tokenizer_larger_than_the_model_is_refused(tmp_path):
    directory = save_decoder(tmp_path / "m")
    (directory / "tokenizer.json").write_text(
        (save_decoder(tmp_path / "n") / "tokenizer.json").read_text(encoding="utf-8"),
        encoding="utf-8",
    )
    hanlin.load(directory)
    from hanlin.tokenizers import SpecialTokens, Tokenizer

    larger = Tokenizer.load(directory)
    more = Tokenizer(larger.backend, special=SpecialTokens(extra=("<one>", "<two>")))
    more.save(directory)
    with pytest.raises(FormatError, match=r"has \d+ tokens, the model embeds \d+"):
        hanlin.load(directory)


def test_an_unknown_dtype_is_refused(directory):
    with pytest.raises(ConfigError, match="float32"):
        hanlin.load(directory, dtype="float31")


def test_auto_and_bfloat16_stay_near_float32(directory, lm):
    want = lm.score(TEXT).log_likelihood
    for dtype in ("auto", "bfloat16"):
        got = hanlin.load(directory, dtype=dtype).score(TEXT).log_likelihood
        assert got == pytest.approx(want, rel=0.02), dtype
