"""Distillation against plain formulas: choices, states, layers; and what becomes of the teacher."""

import copy
import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from objective_cases import TEXTS, tokenizer_of
from tiny_runs import Recorder
from torch import Tensor

import hanlin
import hanlin.training.run as run_module
from hanlin.config import check
from hanlin.data.batch import IGNORE, Batch
from hanlin.data.classify_records import ClassifyRecord
from hanlin.data.conll import tagged
from hanlin.data.conversations import Conversation
from hanlin.data.pairs import PairRecord
from hanlin.data.squad import Gold, Question
from hanlin.data.tokens import TokenArray
from hanlin.errors import ConfigError
from hanlin.models import load
from hanlin.models.config import ModelConfig
from hanlin.models.directory import save_directory
from hanlin.models.heading import with_head
from hanlin.models.new import new_config
from hanlin.models.transformer import Transformer
from hanlin.tasks import Classifier, LanguageModel
from hanlin.training.objectives import OBJECTIVES, Distil
from hanlin.training.objectives.distilling import (
    layer_pairs,
    projection,
    teacher_of,
    watched,
    with_layers,
)
from tiny_models import CORPUS

FAMILIES = {
    "causal-lm": "llama",
    "instruct": "llama",
    "masked-lm": "bert",
    "span-corruption": "t5",
    "denoising": "bart",
    "seq2seq": "bart",
    "classify": "bert",
    "tag": "bert",
    "extract": "bert",
}
"""Every task that can be distilled, with a family for it."""
KINDS = {task: "wordpiece" if family == "bert" else "bpe" for task, family in FAMILIES.items()}
NAMED: dict[str, Any] = {
    "instruct": {"name": "instruct", "template": "chatml"},
    "span-corruption": "span-corruption",
    "denoising": "denoising",
}
"""Tasks that the teacher alone does not say."""
HEADS: dict[str, Any] = {"classify": "classify", "tag": "tag", "extract": "extract"}
LABELS = ("good", "bad", "neither")


def network(task: str, *, seed: int, layers: int = 2, width: int = 32, **more: Any) -> Transformer:
    fields: dict[str, Any] = {
        "num_layers": layers,
        "hidden_size": width,
        "num_heads": 2,
        "intermediate_size": 48,
        "max_context": 64,
        "initializer_range": 0.2,
        **more,
    }
    config = new_config(FAMILIES[task], tokenizer=tokenizer_of(KINDS[task]), **fields)
    if task in HEADS:
        config = with_head(config, HEADS[task], labels=() if task == "extract" else LABELS)
    torch.manual_seed(seed)
    return Transformer(config)


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model of four layers for every task, on disk."""
    return {
        task: save_directory(
            network(task, seed=1, layers=4).eval(),
            tmp_path_factory.mktemp("teachers") / task,
            tokenizer=tokenizer_of(KINDS[task]),
        )
        for task in FAMILIES
    }


def source_of(task: str) -> Any:
    if task == "classify":
        return [ClassifyRecord(text, LABELS[n % 3]) for n, text in enumerate(TEXTS)]
    if task == "seq2seq":
        return [PairRecord(text, (text[::-1],)) for text in TEXTS]
    if task == "tag":
        words = [text.split() for text in TEXTS]
        return [tagged(some, [LABELS[n % 3] for n in range(len(some))]) for some in words]
    if task == "extract":
        return [Question("What?", text, (Gold(text[4:9], 4),)) for text in TEXTS]
    if task == "instruct":
        said = ({"role": "user", "content": "Go on."}, {"role": "assistant", "content": "No."})
        return [Conversation(said), Conversation((*said, *said))]
    return TokenArray.encode(TEXTS, tokenizer_of(KINDS[task]))


def options_of(task: str, teachers: dict[str, Path], **more: Any) -> dict[str, Any]:
    of = {"of": NAMED[task]} if task in NAMED else {}
    return {"teacher": str(teachers[task]), **of, **more}


def distil(options: dict[str, Any], records: Any = (), config: ModelConfig | None = None) -> Distil:
    objective, problems = check(options, into=Distil)
    assert not problems
    assert objective is not None
    if objective.records:
        assert config is not None
        return objective.fitted(records, config)
    return objective


def lessons(objective: Distil, task: str, *, validation: bool = False) -> list[Any]:
    examples = objective.examples(
        source_of(task),
        tokenizer=tokenizer_of(KINDS[task]),
        length=48 if task in ("extract", "instruct") else 24,
        seed=0,
        validation=validation,
    )
    return [examples.example(n, 0) for n in range(min(4, len(examples)))]


def logits_of(model: Transformer, batch: Batch) -> Tensor:
    """The plain way: whole logits."""
    after = None if batch.decoder_ids is None else model.shift(batch.decoder_ids)
    if model.config.head in HEADS:
        found = model(batch.ids, batch.mask, token_types=batch.token_types).logits
    else:
        assert model.head is not None
        found = model.head(model.hidden(batch.ids, batch.mask, after, segments=batch.segments))
    assert isinstance(found, Tensor)
    return found


def plain(model: Transformer, teacher: Transformer, batch: Batch, T: float, alpha: float) -> Tensor:
    """(1 - alpha) * cross-entropy + alpha * T**2 * KL, summed over targets."""
    mine, theirs = logits_of(model, batch), logits_of(teacher, batch).detach()
    if model.config.head == "extract":
        return plain_places(mine, theirs, batch, T, alpha)
    right = F.cross_entropy(
        mine.flatten(0, -2), batch.targets.flatten(), ignore_index=IGNORE, reduction="sum"
    )
    asked = batch.targets.flatten() != IGNORE
    soft = F.kl_div(
        F.log_softmax(mine.flatten(0, -2)[asked] / T, -1),
        F.log_softmax(theirs.flatten(0, -2)[asked] / T, -1),
        reduction="sum",
        log_target=True,
    )
    return (1 - alpha) * right + alpha * T**2 * soft


def plain_places(mine: Tensor, theirs: Tensor, batch: Batch, T: float, alpha: float) -> Tensor:
    """The same over the places of a row: its tokens, one row and one end at a time."""
    total = torch.zeros((), dtype=mine.dtype)
    for row in range(len(batch.ids)):
        real = slice(None) if batch.mask is None else batch.mask[row].bool()
        for end in (0, 1):
            own, told = mine[row, real, end], theirs[row, real, end]
            right = -own.log_softmax(-1)[batch.targets[row, end]]
            p = (told / T).softmax(-1)
            soft = (p * (p.log() - (own / T).log_softmax(-1))).sum()
            total = total + ((1 - alpha) * right + alpha * T**2 * soft) / 2
    return total


def grads(loss: Tensor, model: Transformer) -> Tensor:
    found = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    return torch.cat(
        [
            (torch.zeros_like(p) if g is None else g).flatten()
            for g, p in zip(found, model.parameters(), strict=True)
        ]
    )


@pytest.fixture
def in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let teachers be of float64, so that sums can be compared to the last digits."""
    import hanlin.training.objectives.distil as module

    def of(ref: str, device: torch.device) -> Transformer:
        return copy.deepcopy(teacher_of(ref, device)).double()

    monkeypatch.setattr(module, "teacher_of", of)


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("task", FAMILIES)
@pytest.mark.parametrize(("T", "alpha"), [(1.0, 1.0), (3.0, 0.4)])
def test_the_loss_is_the_published_one(
    task: str, T: float, alpha: float, teachers: dict[str, Path]
) -> None:
    model = network(task, seed=2).double().train()
    options = options_of(task, teachers, temperature=T, alpha=alpha)
    objective = distil(options, source_of(task), model.config)
    assert objective.task.name == task
    batch = objective.collate(lessons(objective, task))
    found = objective.loss(model, batch)
    close = 1e-6 if task in HEADS else 1e-10  # the losses of heads are taken in float32
    right = plain(model, load(teachers[task]).double(), batch, T, alpha)
    assert found.item() == pytest.approx(right.item(), rel=close)
    mine, theirs = grads(found, model), grads(right, model)
    assert theirs.norm() > 1e-3
    assert (mine - theirs).norm() <= 10 * close * theirs.norm()


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("task", FAMILIES)
@pytest.mark.parametrize("distance", ["cosine", "mse"])
def test_micro_batches_and_padding_change_nothing(
    task: str, distance: str, teachers: dict[str, Path]
) -> None:
    model = network(task, seed=3, width=16).double().train()
    hidden = {"weight": 0.7, "distance": distance}
    options = options_of(task, teachers, hidden=hidden)
    objective = distil(options, source_of(task), model.config)
    some = lessons(objective, task)
    close = 1e-6 if task in HEADS else 1e-10
    whole = objective.loss(model, objective.collate(some))
    parts = [objective.loss(model, objective.collate([one])) for one in some]
    assert sum(part.item() for part in parts) == pytest.approx(whole.item(), rel=close)
    together, summed = grads(whole, model), grads(torch.stack(parts).sum(), model)
    assert (together - summed).norm() <= 100 * close * together.norm()


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("distance", ["cosine", "mse"])
def test_states_follow_the_layers_they_are_paired_with(
    distance: str, teachers: dict[str, Path]
) -> None:
    """Against a loop over tokens and layers."""
    model = network("causal-lm", seed=4).double().train()
    with_, without = (
        distil(
            {
                "teacher": str(teachers["causal-lm"]),
                "hidden": {"weight": 2.0, "distance": distance, "layers": {1: 3, 2: 4}},
            }
        ),
        distil({"teacher": str(teachers["causal-lm"])}),
    )
    batch = with_.collate(lessons(with_, "causal-lm"))
    teacher = load(teachers["causal-lm"]).double()
    with watched(model, layers=True) as own, torch.no_grad():
        model.hidden(batch.ids)
    with watched(teacher, layers=True) as told, torch.no_grad():
        teacher.hidden(batch.ids)
    total = 0.0
    for mine, theirs in ((1, 3), (2, 4)):
        here, there = own.layers["decoder"][mine - 1], told.layers["decoder"][theirs - 1]
        for row, column in (batch.targets != IGNORE).nonzero().tolist():
            a, b = here[row, column], there[row, column]
            if distance == "mse":
                total += float(((a - b) ** 2).mean()) / 2
            else:
                total += float(1 - a @ b / (a.norm() * b.norm())) / 2
    extra = with_.loss(model, batch).item() - without.loss(model, batch).item()
    assert extra == pytest.approx(2.0 * total, rel=1e-9)


def test_which_layers_belong_together() -> None:
    assert layer_pairs(3, 6, "every") == ((1, 2), (2, 4), (3, 6))
    assert layer_pairs(3, 12, "every") == ((1, 4), (2, 8), (3, 12))
    assert layer_pairs(4, 4, "every") == ((1, 1), (2, 2), (3, 3), (4, 4))
    assert layer_pairs(4, 2, "every")[-1] == (4, 2)
    assert layer_pairs(3, 6, "last") == ((3, 6),)
    assert layer_pairs(3, 6, {3: 6, 1: 1}) == ((1, 1), (3, 6))
    with pytest.raises(ConfigError, match="layer 4 with the teacher's 6"):
        layer_pairs(3, 6, {4: 6})
    with pytest.raises(ConfigError, match="the teacher 1 to 6"):
        layer_pairs(3, 6, {1: 7})


@pytest.mark.parametrize(("wide", "narrow"), [(64, 16), (16, 64), (32, 32)])
def test_the_map_between_widths_keeps_angles(wide: int, narrow: int) -> None:
    device = torch.device("cpu")
    matrix = projection(wide, narrow, device)
    assert matrix.shape == (wide, narrow)
    assert torch.equal(matrix, projection(wide, narrow, device))
    square = matrix.t() @ matrix if wide >= narrow else matrix @ matrix.t()
    scale = max(wide, narrow) / wide
    torch.testing.assert_close(square, torch.eye(len(square)) * scale, rtol=0, atol=1e-5)
    # A channel of the student has the size of one of the teacher.
    states = torch.randn(4000, wide, generator=torch.Generator().manual_seed(0))
    assert float((states @ matrix).std()) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("task", ["causal-lm", "masked-lm", "classify"])
def test_a_student_of_some_layers_computes_what_these_layers_do(
    task: str, teachers: dict[str, Path]
) -> None:
    teacher = load(teachers[task], dtype="float32")
    student = with_layers(teacher, [0, 2], None).eval()
    assert student.config.num_layers == 2
    stack = teacher.decoder or teacher.encoder
    assert stack is not None
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    # Without the blocks between, the teacher is the student.
    kept = torch.nn.ModuleList([stack.layers[0], stack.layers[2]])
    with torch.no_grad():
        found = student.hidden(ids)
        stack.layers = kept
        torch.testing.assert_close(found, teacher.hidden(ids), rtol=0, atol=0)


def test_a_student_of_an_encoder_decoder_takes_layers_of_both(teachers: dict[str, Path]) -> None:
    teacher = load(teachers["seq2seq"], dtype="float32")
    student = with_layers(teacher, [1, 3], [0])
    assert student.encoder is not None
    assert student.decoder is not None
    assert teacher.encoder is not None
    assert (len(student.encoder.layers), len(student.decoder.layers)) == (2, 1)
    for name, parameter in student.encoder.layers[1].named_parameters():
        assert torch.equal(parameter, dict(teacher.encoder.layers[3].named_parameters())[name])
    whole = with_layers(teacher, [0], None)
    assert whole.decoder is not None
    assert len(whole.decoder.layers) == 4


@pytest.mark.parametrize(
    ("layers", "decoder_layers", "said"),
    [
        ([0, 4], None, "some of the layers 0 to 3"),
        ([2, 1], None, "ascending"),
        ([], None, "name some"),
        ([0], [1], "decoder_layers is for encoder-decoders"),
    ],
)
def test_layers_that_are_not_there_are_refused(
    layers: Sequence[int],
    decoder_layers: Sequence[int] | None,
    said: str,
    teachers: dict[str, Path],
) -> None:
    with pytest.raises(ConfigError, match=said):
        with_layers(load(teachers["causal-lm"]), layers, decoder_layers)


def test_the_teacher_stays_as_it_is(teachers: dict[str, Path]) -> None:
    objective = distil({"teacher": str(teachers["causal-lm"]), "hidden": 1})
    model = network("causal-lm", seed=5, dropout=0.1).train()
    teacher = teacher_of(str(teachers["causal-lm"]), torch.device("cpu"))
    before = {name: p.clone() for name, p in teacher.named_parameters()}
    objective.loss(model, objective.collate(lessons(objective, "causal-lm"))).backward()  # type: ignore[no-untyped-call]
    assert not teacher.training
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    assert all(torch.equal(p, before[name]) for name, p in teacher.named_parameters())
    assert all(p.grad is not None for p in model.parameters())
    # And nothing stays behind in either model.
    for one in (model, teacher):
        assert not any(module._forward_hooks for module in one.modules())


def test_validation_is_the_loss_of_the_task_alone(teachers: dict[str, Path]) -> None:
    objective = distil({"teacher": str(teachers["causal-lm"])})
    model = network("causal-lm", seed=6).eval()
    held = objective.collate(lessons(objective, "causal-lm", validation=True))
    assert held.target_bytes > 0
    assert objective.loss(model, held).item() == objective.task.loss(model, held).item()
    # What is learnt with a teacher is no code length.
    assert objective.collate(lessons(objective, "causal-lm")).target_bytes == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"temperature": 0}, "temperature is 0"),
        ({"alpha": 0}, "alpha is 0"),
        ({"alpha": 1.5}, "at most 1"),
        ({"of": "distil"}, "objective.of is distil"),
        ({"of": "embed"}, "objective.of is embed"),
        ({"of": "prefer"}, "objective.of is prefer"),
        ({"hidden": -1}, "weight is -1"),
        ({"hidden": {"layers": "middle"}}, "layers is 'middle'"),
        ({"hidden": {"layers": {}}}, "pairs nothing"),
        ({"student": {"layer": [0]}}, "student.layer"),
    ],
)
def test_settings_that_mean_nothing_are_refused(options: dict[str, Any], said: str) -> None:
    _, problems = check({"teacher": "t", **options}, into=Distil)
    assert any(said in problem for problem in problems), problems
    assert check({"alpha": 0.5}, into=Distil)[1] == ["teacher is missing. Set it."]


def test_models_that_cannot_be_compared_are_refused(teachers: dict[str, Path]) -> None:
    objective = distil({"teacher": str(teachers["causal-lm"])})
    with pytest.raises(ConfigError, match="reads other tokens than the student"):
        objective.examples(
            source_of("causal-lm"), tokenizer=tokenizer_of("unigram"), length=24, seed=0
        )
    batch = objective.collate(lessons(objective, "causal-lm"))
    larger = network("causal-lm", seed=0, vocab_size=500)
    with pytest.raises(ConfigError, match="vocab_size is 500"):
        objective.loss(larger.train(), batch)


def test_every_task_but_two_can_be_distilled() -> None:
    assert set(FAMILIES) == set(OBJECTIVES) - {"distil", "embed", "prefer"}


# Whole runs


@pytest.fixture
def config(tmp_path: Path, teachers: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Any:
    """A run of six steps that distils the teacher into two of its layers."""
    monkeypatch.setattr(run_module, "machine_peak", lambda precision, seconds: None)
    text = tmp_path / "text.jsonl"
    text.write_text("\n".join(json.dumps({"text": line}) for line in CORPUS))
    return {
        "model": str(teachers["causal-lm"]),
        "objective": {
            "name": "distil",
            "teacher": str(teachers["causal-lm"]),
            "student": {"layers": [0, 3]},
            "hidden": 0.5,
        },
        "data": {"train": str(text), "validation": "20%"},
        "batch": {"sequences": 4, "length": 24},
        "duration": "6 steps",
        "checkpoint": {"every": "2 steps", "keep": 5},
        "output": str(tmp_path / "run"),
    }


def test_a_run_gives_the_student_alone_and_goes_on_exactly(config: Any, tmp_path: Path) -> None:
    result = hanlin.train(config, watchers=[Recorder()])
    assert result.finished
    assert "bits_per_byte" in result.validation
    student = hanlin.load(tmp_path / "run")
    assert isinstance(student, LanguageModel)
    assert student.network.config.num_layers == 2
    about = json.loads((tmp_path / "run" / "hanlin.json").read_text())
    assert about["task"]["name"] == "causal-lm"
    assert set(about["provenance"]["parents"]) == {config["model"]}
    # The same run, broken off after step 3, comes to the same weights.
    other = {**config, "output": str(tmp_path / "other")}
    leaving = Recorder(
        at_step=lambda record: os.kill(os.getpid(), signal.SIGTERM) if record.step == 3 else None
    )
    assert not hanlin.train(other, watchers=[leaving]).finished
    assert hanlin.train(other, resume=True, watchers=[Recorder()]).steps == 6
    one, two = (tmp_path / name / "model.safetensors" for name in ("other", "run"))
    assert one.read_bytes() == two.read_bytes()
    found = hanlin.evaluate(str(tmp_path / "run"), texts=CORPUS[:3], baselines=())
    assert found.metrics["bits_per_byte"].value > 0


def test_a_fresh_student_takes_the_teachers_tokenizer(config: Any, tmp_path: Path) -> None:
    config["model"] = {"family": "llama", "hidden_size": 16, "num_layers": 1, "num_heads": 2}
    del config["objective"]["student"]
    hanlin.train(config, watchers=[Recorder()])
    student, teacher = hanlin.load(tmp_path / "run"), hanlin.load(config["objective"]["teacher"])
    assert student.tokenizer.hash == teacher.tokenizer.hash
    config["objective"]["student"] = {"layers": [0]}
    with pytest.raises(ConfigError, match="drawn from nothing"):
        hanlin.train(config, watchers=[Recorder()])


def test_a_classifier_is_distilled_into_one_that_is_loaded_as_such(
    config: Any, tmp_path: Path, teachers: dict[str, Path]
) -> None:
    rows = tmp_path / "rows.csv"
    lines = [f'"{text}",{LABELS[n % 3]}' for n, text in enumerate(TEXTS * 4)]
    rows.write_text("\n".join(["text,label", *lines]), encoding="utf-8")
    config["model"] = config["objective"]["teacher"] = str(teachers["classify"])
    config["objective"] |= {"student": {"layers": [1]}}
    config["data"] = {"train": str(rows), "validation": "25%"}
    hanlin.train(config, watchers=[Recorder()])
    student = hanlin.load(tmp_path / "run")
    assert isinstance(student, Classifier)
    assert student.labels == LABELS
    assert student.network.config.num_layers == 1
    assert json.loads((tmp_path / "run" / "hanlin.json").read_text())["task"]["name"] == "classify"


@pytest.mark.slow
def test_a_student_comes_to_choose_as_its_teacher_does(teachers: dict[str, Path]) -> None:
    """Soft targets alone: no right answers are needed to copy the teacher."""
    path = str(teachers["causal-lm"])
    objective = distil({"teacher": path, "alpha": 1.0, "temperature": 1.0})
    teacher = load(path, dtype="float32")
    model = with_layers(teacher, [0, 1, 3], None).train()
    batch = objective.collate(lessons(objective, "causal-lm"))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    first = last = 0.0
    for step in range(80):
        loss = objective.loss(model, batch) / batch.target_tokens
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        first, last = (loss.item(), loss.item()) if step == 0 else (first, loss.item())
    print(f"divergence from {first:.3f} to {last:.4f}")
    assert last < 0.1 * first
    with torch.no_grad():
        same = logits_of(model, batch).argmax(-1) == logits_of(teacher, batch).argmax(-1)
    assert np.mean(same[batch.targets != IGNORE].numpy()) > 0.9
