"""What was forgotten: paired, against the two evaluations it is the difference of."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import hanlin
import hanlin.training.run as run_module
from hanlin.data.turns import answer_to
from hanlin.errors import ConfigError, NotFoundError
from hanlin.evaluation.forgetting import Forgotten, forgetting, report
from hanlin.metrics import Score
from hanlin.models.directory import save_directory
from hanlin.training.objectives import OBJECTIVES, Classify
from hanlin.training.sections import DataSettings
from tiny_models import CORPUS, save_decoder, save_encoder


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "old.jsonl"
    texts = [text[at : at + 40] for text in CORPUS[:5] for at in (0, 10)]
    path.write_text("\n".join(json.dumps({"text": text}) for text in texts), encoding="utf-8")
    return path


def compared(before: Any, after: Any, path: Path, task: Any, *, length: int) -> list[Forgotten]:
    """What `after` has forgotten of one file."""
    return forgetting(
        before,
        after,
        {path.stem: [str(path)]},
        objective=task,
        data=DataSettings(train=(str(path),)),
        length=length,
    )


def changed(model: Any, target: Path, *, by: float) -> Any:
    """The same model with noise on every weight."""
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter += by * torch.randn(parameter.shape, generator=draw)
    save_directory(model.network, target, tokenizer=model.tokenizer)
    return hanlin.load(target, dtype="float32")


def test_a_decoder_is_compared_document_by_document(old: Path, tmp_path: Path) -> None:
    path = save_decoder(tmp_path / "before")
    before = hanlin.load(path, dtype="float32")
    after = changed(hanlin.load(path, dtype="float32"), tmp_path / "after", by=0.5)
    [found] = compared(before, after, old, OBJECTIVES["causal-lm"](), length=32)
    texts = [json.loads(line)["text"] for line in old.read_text("utf-8").splitlines()]
    for model, score in ((before, found.before), (after, found.after)):
        likely = [model.score(text) for text in texts]
        bits = -sum(one.log_likelihood for one in likely) / np.log(2)
        assert score.value == pytest.approx(bits / sum(one.bytes for one in likely), rel=1e-4)
    assert found.change.value == pytest.approx(found.after.value - found.before.value)
    assert found.change.value > 0
    assert found.change.low is not None
    assert found.change.high is not None
    assert found.before.low is not None
    assert found.before.high is not None
    assert found.change.low < found.change.value < found.change.high


def test_a_model_that_has_not_changed_has_forgotten_nothing(old: Path, tmp_path: Path) -> None:
    for head, objective in (("masked-lm", "masked-lm"), (None, "causal-lm")):
        path = (
            save_decoder(tmp_path / "llama")
            if head is None
            else save_encoder(tmp_path / "bert", head=head)
        )
        model = hanlin.load(path, dtype="float32")
        [found] = compared(model, model, old, OBJECTIVES[objective](), length=32)
        assert found.before.value == found.after.value
        assert found.change.value == 0
        assert found.verdict == "unclear"


def test_a_classifier_is_compared_record_by_record(tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    lines = [f'"{text[:30]}",{("good", "bad")[n % 2]}' for n, text in enumerate(CORPUS[:10])]
    rows.write_text("\n".join(["text,label", *lines]), encoding="utf-8")
    path = save_encoder(tmp_path / "before", head="classify")
    before = hanlin.load(path, dtype="float32")
    after = changed(hanlin.load(path, dtype="float32"), tmp_path / "after", by=0.3)
    [found] = compared(before, after, rows, OBJECTIVES["classify"](), length=64)
    for model, score in ((before, found.before), (after, found.after)):
        said = model([text[:30] for text in CORPUS[:10]])
        nats = [-np.log(one.scores[("good", "bad")[n % 2]]) for n, one in enumerate(said)]
        assert score.value == pytest.approx(np.mean(nats), rel=1e-4)
    assert found.change.value == pytest.approx(found.after.value - found.before.value)


def test_models_that_cannot_be_compared_are_refused(old: Path, tmp_path: Path) -> None:
    one = hanlin.load(save_decoder(tmp_path / "llama"), dtype="float32")
    other = hanlin.load(save_encoder(tmp_path / "bert", head="masked-lm"), dtype="float32")
    with pytest.raises(ConfigError, match="read other tokens"):
        compared(one, other, old, OBJECTIVES["causal-lm"](), length=32)


def test_vectors_are_compared_by_what_they_find(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    pairs = [(text[:20], text[20:45]) for text in CORPUS[:5]]
    rows.write_text("\n".join(json.dumps({"anchor": a, "positive": b}) for a, b in pairs))
    path = save_encoder(tmp_path / "before")
    before = hanlin.load(path, dtype="float32")
    after = changed(hanlin.load(path, dtype="float32"), tmp_path / "after", by=0.5)
    [found] = compared(before, after, rows, OBJECTIVES["embed"](), length=64)
    for model, score in ((before, found.before), (after, found.after)):
        vectors = [model.embed([text])[0].astype(float) for pair in pairs for text in pair]
        places = []
        for n in range(5):
            anchor = vectors[2 * n]
            near = [v @ anchor / np.linalg.norm(v) / np.linalg.norm(anchor) for v in vectors[1::2]]
            places.append(1 + sum(other > near[n] for other in near))
        assert score.value == pytest.approx(np.mean([1 / place for place in places]))
    assert found.metric == "mrr"
    assert found.before.value != found.after.value
    assert found.change.value == pytest.approx(found.after.value - found.before.value)


def test_preferences_are_compared_by_the_likelier_answer(tmp_path: Path) -> None:
    """Without the reference they were learnt against, which is gone."""
    rows = tmp_path / "rows.jsonl"
    pairs = [(text[:12], text[12:20], text[20:30]) for text in CORPUS[:5]]
    pairs += [(asked, no, yes) for asked, yes, no in pairs[:2]]
    rows.write_text(
        "\n".join(json.dumps({"prompt": a, "chosen": b, "rejected": c}) for a, b, c in pairs)
    )
    path = save_decoder(tmp_path / "before")
    before = hanlin.load(path, dtype="float32")
    after = changed(hanlin.load(path, dtype="float32"), tmp_path / "after", by=0.5)
    [found] = compared(before, after, rows, OBJECTIVES["prefer"](), length=64)

    def likely(model: Any, asked: str, answer: str) -> float:
        messages = [{"role": "user", "content": asked}]
        ids, begin = answer_to(messages, {"role": "assistant", "content": answer}, model.tokenizer)
        with torch.no_grad():
            logits = model.network(torch.from_numpy(ids)[None]).logits[0].double()
        shares = logits.log_softmax(-1)
        return sum(float(shares[at - 1, ids[at]]) for at in range(begin, len(ids)))

    for model, score in ((before, found.before), (after, found.after)):
        right = [likely(model, a, yes) > likely(model, a, no) for a, yes, no in pairs]
        assert score.value == pytest.approx(np.mean(right))
    assert found.metric == "chosen_likelier"


def test_old_records_need_not_have_every_label(tmp_path: Path) -> None:
    """Weights are those of the new training part, and count for nothing here."""
    rows = tmp_path / "rows.csv"
    rows.write_text("\n".join(["text,label", *(f'"{text[:30]}",good' for text in CORPUS[:5])]))
    path = save_encoder(tmp_path / "before", head="classify")
    model = hanlin.load(path, dtype="float32")
    found = [
        compared(model, model, rows, Classify(weights=weights), length=64)[0].before.value
        for weights in ("none", "balanced", {"bad": 3.0, "good": 2.0})
    ]
    assert found == [found[0]] * 3


@pytest.mark.parametrize(
    ("head", "label", "said"),
    [
        ("none", "good", "could not classify before"),
        ("classify", "ugly", "remember.rows has the label 'ugly'"),
        ("classify", None, "no file or folder"),
    ],
)
def test_what_could_not_be_compared_is_refused_before_the_first_step(
    head: str, label: str | None, said: str, tmp_path: Path
) -> None:
    new, old = tmp_path / "new.csv", tmp_path / "old.csv"
    rows = [f'"{text[:30]}",{("good", "bad")[n % 2]}' for n, text in enumerate(CORPUS[:20])]
    new.write_text("\n".join(["text,label", *rows]))
    if label is not None:
        old.write_text(f'text,label\n"{CORPUS[0]}",{label}\n"{CORPUS[1]}",good\n')
    config = {
        "model": str(save_encoder(tmp_path / "before", head=head)),
        "objective": {"name": "classify", "weights": "balanced"},
        "data": {"train": str(new), "validation": None},
        "batch": {"sequences": 4, "length": 16},
        "duration": "2 steps",
        "evaluate": {"remember": {"rows": str(old)}},
        "output": str(tmp_path / "run"),
    }
    with pytest.raises((ConfigError, NotFoundError), match=said):
        hanlin.train(config)
    assert not (tmp_path / "run" / "config.yaml").exists()


@pytest.mark.parametrize(
    ("metric", "low", "high", "verdict"),
    [("loss", 0.1, 0.3, "forgotten"), ("loss", -0.3, -0.1, "improved"),
     ("loss", -0.1, 0.1, "unclear"), ("bits_per_byte", None, None, "unclear"),
     ("mrr", 0.1, 0.3, "improved"), ("chosen_likelier", -0.3, -0.1, "forgotten")],
)  # fmt: skip
def test_the_verdict_is_that_of_the_interval(
    metric: str, low: float | None, high: float | None, verdict: str
) -> None:
    same = Score(1.0, None, None, "")
    one = Forgotten("wiki", metric, same, same, Score(0.2, low, high, ""))
    assert one.verdict == verdict
    page = report([one], before="a", after="b")
    assert "wiki" in page.terminal(width=100, language="en")
    assert "遗忘" in page.terminal(width=100, language="zh")


def test_a_run_that_goes_on_says_what_it_forgot(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "machine_peak", lambda precision, seconds: None)
    new = tmp_path / "new.txt"
    new.write_text("\n".join(["3 1 4 1 5 9 2 6 5 3 5 8 9 7 9"] * 20), encoding="utf-8")
    config = {
        "model": str(save_decoder(tmp_path / "before")),
        "data": {
            "train": str(new),
            "validation": None,
            "replay": {"sources": str(old), "share": "25%"},
        },
        "batch": {"sequences": 4, "length": 16},
        "optimizer": {"lr": 0.01},
        "duration": "12 steps",
        "evaluate": {"remember": {"old": str(old)}},
        "output": str(tmp_path / "run"),
    }
    hanlin.train(config)
    [found] = json.loads((tmp_path / "run" / "forgetting.json").read_text("utf-8"))
    assert found["name"] == "old"
    assert found["change"]["value"] == pytest.approx(
        found["after"]["value"] - found["before"]["value"]
    )
    page = (tmp_path / "run" / "forgetting.html").read_text("utf-8")
    assert "What was forgotten" in page
    about = json.loads((tmp_path / "run" / "hanlin.json").read_text("utf-8"))
    assert set(about["provenance"]["data"]) == {"train", "replay"}
