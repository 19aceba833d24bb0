"""Models that repair texts: against transformers, one guess at a time."""

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import hanlin
from hanlin.data.batch import IGNORE
from hanlin.data.tokens import TokenArray
from hanlin.errors import ConfigError, InputError
from hanlin.evaluation import evaluate
from hanlin.evaluation.masked import centred
from hanlin.tasks import MaskedLanguageModel
from hanlin.training.objectives import MaskedLM
from tiny_models import CONTEXT, CORPUS, save_decoder, save_encoder

TEXTS = ["什么是词元？ a token", "The academy drafted the words of the emperor.", CORPUS[4]]
LONG = " ".join(CORPUS[:8])


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_encoder(tmp_path_factory.mktemp("evaluated") / "bert", head="masked-lm")


@pytest.fixture(scope="module")
def lm(directory: Path) -> MaskedLanguageModel:
    model = hanlin.load(directory)
    assert isinstance(model, MaskedLanguageModel)
    return model


@pytest.fixture(scope="module")
def reference(directory: Path):
    transformers = pytest.importorskip("transformers")
    return transformers.AutoModelForMaskedLM.from_pretrained(directory).eval()


def guessed(reference, ids: list[int], place: int, mask: int) -> float:
    """What the token at `place` costs when it alone is hidden."""
    shown = [*ids[:place], mask, *ids[place + 1 :]]
    with torch.no_grad():
        logs = reference(torch.tensor([shown])).logits[0, place].double().log_softmax(-1)
    return -float(logs[ids[place]])


def test_the_pseudo_likelihood_is_a_guess_for_each_token(lm, reference):
    want, size = [], 0
    for text in TEXTS:
        ids = lm.tokenizer.encode(text)
        want += [guessed(reference, ids, i, lm.mask_id) for i in range(1, len(ids) - 1)]
        size += len(text.encode())
    names = ["pseudo_loss", "pseudo_perplexity", "pseudo_bits_per_byte"]
    found = evaluate(lm, texts=TEXTS, metrics=names)
    assert list(found.metrics) == names
    assert found.model.tokens == len(want)
    loss = sum(want) / len(want)
    assert found.metrics["pseudo_loss"].value == pytest.approx(loss, abs=1e-4)
    assert found.metrics["pseudo_perplexity"].value == pytest.approx(math.exp(loss), rel=1e-3)
    bits = sum(want) / math.log(2) / size
    assert found.metrics["pseudo_bits_per_byte"].value == pytest.approx(bits, abs=1e-4)


def test_it_is_what_the_model_itself_scores(lm):
    one = lm.score(TEXTS[0])
    found = evaluate(lm, texts=[TEXTS[0]], metrics=["pseudo_loss"])
    assert found.metrics["pseudo_loss"].value == pytest.approx(
        -one.log_likelihood / len(one.tokens), abs=1e-5
    )


def test_a_long_text_is_read_in_windows_around_what_is_guessed(lm, reference):
    ids = lm.tokenizer.encode(LONG, add_special_tokens=False)
    opening, closing = lm.tokenizer.cls_id, lm.tokenizer.sep_id
    context, stride = 22, 8
    assert len(ids) > 3 * context
    want = []
    for window, stop in centred(len(ids), context - 2, stride):
        part = [opening, *ids[window.begin : window.end], closing]
        places = range(window.first - window.begin + 1, stop - window.begin + 1)
        want += [guessed(reference, part, place, lm.mask_id) for place in places]
    found = evaluate(lm, texts=[LONG], metrics=["pseudo_loss"], context=context, stride=stride)
    assert len(want) == len(ids) == found.model.tokens
    assert found.metrics["pseudo_loss"].value == pytest.approx(sum(want) / len(want), abs=1e-4)


@given(length=st.integers(1, 300), width=st.integers(1, 60), data=st.data())
def test_windows_score_each_token_once_with_room_on_both_sides(length, width, data):
    stride = data.draw(st.integers(1, width))
    scored = []
    for window, stop in centred(length, width, stride):
        assert 0 <= window.begin <= window.first < stop <= window.end <= length
        assert window.end - window.begin <= width
        margin = (width - stride) // 2
        assert window.begin == 0 or window.first - window.begin >= margin
        assert window.end == length or window.end - stop >= margin
        scored += range(window.first, stop)
    assert scored == list(range(length))


@pytest.mark.parametrize("length", [None, 30])
def test_the_masked_loss_is_that_of_the_objective(lm, reference, length):
    examples = MaskedLM().examples(
        TokenArray.encode([LONG, *TEXTS], lm.tokenizer),
        tokenizer=lm.tokenizer,
        length=length or CONTEXT,
        seed=5,
        validation=True,
    )
    nats, count = 0.0, 0
    for row in range(len(examples)):
        example = examples.example(row, 0)
        asked = torch.from_numpy(example.targets != IGNORE)
        with torch.no_grad():
            logs = reference(torch.from_numpy(example.ids)[None]).logits[0].double().log_softmax(-1)
        targets = torch.from_numpy(example.targets)[asked]
        nats -= float(logs[asked].gather(1, targets[:, None]).sum())
        count += len(targets)
    found = evaluate(lm, texts=[LONG, *TEXTS], context=length, seed=5)
    assert list(found.metrics) == ["masked_loss"]
    assert found.model.tokens == count
    assert found.metrics["masked_loss"].value == pytest.approx(nats / count, abs=1e-4)
    assert "objective:masked-lm" in found.metrics["masked_loss"].signature


def test_a_model_is_measured_at_the_length_it_learnt_at(tmp_path: Path) -> None:
    directory = save_encoder(tmp_path / "bert", head="masked-lm")
    config = {"objective": "masked-lm", "data": "x", "batch": {"sequences": 2, "length": 8}}
    (directory / "hanlin.json").write_text(json.dumps({"provenance": {"config": config}}))

    def measured(**settings: int) -> float:
        return evaluate(str(directory), texts=[LONG], **settings).metrics["masked_loss"].value

    assert measured() == measured(context=8)
    assert measured() != measured(context=CONTEXT)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"metrics": ["bits_per_byte"]}, "pseudo_bits_per_byte"),
        ({"baselines": "x.txt"}, "left to right"),
        ({"objective": "denoising"}, "encoder-decoder"),
        ({"objective": "causal-lm"}, "left to right"),
        ({"stride": 3}, "ignored"),
        ({"metrics": ["pseudo_loss"], "context": CONTEXT + 1}, f"at most {CONTEXT}"),
        ({"metrics": ["pseudo_loss"], "context": 10, "stride": 9}, "from 1 to 8"),
    ],
)
def test_settings_that_cannot_be_met_are_refused(lm, arguments, named):
    with pytest.raises(ConfigError, match=named):
        evaluate(lm, texts=TEXTS, **arguments)


def test_other_models_are_told_to_be_of_no_use_here(tmp_path):
    encoder = hanlin.load(save_encoder(tmp_path / "bare"))
    with pytest.raises(InputError, match="no probability"):
        evaluate(encoder, texts=TEXTS)
    decoder = hanlin.load(save_decoder(tmp_path / "llama"))
    with pytest.raises(ConfigError, match="pseudo_loss"):
        evaluate(decoder, texts=TEXTS, metrics=["pseudo_loss"])
