"""Temperature scaling finds what an independent optimiser finds, and folds it in exactly."""

import json

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

import hanlin
from hanlin.data.batch import Batch
from hanlin.errors import ConfigError
from hanlin.models.directory import save_directory
from hanlin.training.calibration import FEWEST, calibrate, fit_temperature
from tiny_models import save_encoder


def drawn(seed: int, *, rows: int = 400, labels: int = 4, sharpness: float = 3.0):
    """Logits `sharpness` times as sure as they should be, and labels drawn from the true ones."""
    rng = np.random.default_rng(seed)
    true = rng.normal(size=(rows, labels)) * 1.5
    p = np.exp(true) / np.exp(true).sum(1, keepdims=True)
    right = np.array([rng.choice(labels, p=row) for row in p])
    return true * sharpness, right


def several(seed: int, *, rows: int = 300, labels: int = 5, sharpness: float = 2.5):
    rng = np.random.default_rng(seed)
    true = rng.normal(size=(rows, labels)) * 1.5
    right = (rng.random((rows, labels)) < 1 / (1 + np.exp(-true))).astype(np.float64)
    return true * sharpness, right


def by_lbfgs(logits: np.ndarray, right: np.ndarray) -> float:
    """The temperature that torch's LBFGS finds for torch's loss."""
    log_t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    z, y = torch.from_numpy(logits), torch.from_numpy(right)
    optimizer = torch.optim.LBFGS(
        [log_t], max_iter=500, tolerance_grad=1e-12, tolerance_change=1e-14,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        scaled = z / log_t.exp()
        loss = (
            binary_cross_entropy_with_logits(scaled, y) if y.ndim == 2 else cross_entropy(scaled, y)
        )
        loss.backward()
        return loss

    optimizer.step(closure)
    return float(log_t.detach().exp())


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("draw", [drawn, several])
@pytest.mark.parametrize("sharpness", [0.05, 1.0, 30.0])
def test_the_temperature_is_the_one_another_optimiser_finds(draw, seed, sharpness):
    logits, right = draw(seed, sharpness=sharpness)
    temperature, left = fit_temperature(logits, right)
    assert left is None
    assert temperature == pytest.approx(by_lbfgs(logits, right), rel=1e-4)


def test_overconfident_logits_are_cooled_by_about_how_much_too_sure_they_are():
    logits, right = drawn(1, rows=20_000, sharpness=3.0)
    temperature, _ = fit_temperature(logits, right)
    assert temperature == pytest.approx(3.0, rel=0.05)


@pytest.mark.parametrize(
    ("logits", "right", "why"),
    [
        (np.eye(3)[np.arange(90) % 3] * 5, np.arange(90) % 3, "right"),
        (np.eye(3)[np.arange(90) % 3] * 5, (np.arange(90) + 1) % 3, "chance"),
        (np.zeros((FEWEST - 1, 3)), np.zeros(FEWEST - 1, dtype=int), "too few"),
    ],
)
def test_where_no_temperature_is_the_best_nothing_is_changed_and_it_says_why(logits, right, why):
    temperature, left = fit_temperature(logits, right)
    assert temperature == 1.0
    assert why in left


def batches_of(model, texts, labels, *, multiple=False):
    """One text a batch: nothing depends on what stands together."""
    for text, label in zip(texts, labels, strict=True):
        ids = torch.tensor([model.tokenizer.encode(text)])
        yield Batch(
            ids=ids,
            targets=torch.tensor([0 if multiple else label]),
            scores=torch.tensor([label], dtype=torch.float32) if multiple else None,
            target_tokens=1,
        )


@pytest.mark.parametrize("problem", ["single", "multiple"])
def test_the_directory_gives_the_calibrated_probabilities_to_every_reader(tmp_path, problem):
    model = hanlin.load(save_encoder(tmp_path / "raw", head="classify", problem=problem))
    rng = np.random.default_rng(0)
    words = "academy language token text word number emperor 翰林 起草 外文".split()
    texts = [" ".join(rng.choice(words, 5)) for _ in range(120)]
    before = model.probabilities(texts)
    multiple = problem == "multiple"
    if multiple:
        labels = (rng.random(before.shape) < before).astype(int).tolist()
    else:
        labels = [int(rng.choice(3, p=row)) for row in before]
    with torch.no_grad():
        model.network.head.projection.weight *= 4
        model.network.head.projection.bias *= 4
    sharp = model.probabilities(texts)
    model.network.train()
    found = calibrate(model.network, batches_of(model, texts, labels, multiple=multiple))
    assert model.network.training
    model.network.eval()
    after = model.probabilities(texts)
    logit = np.log(sharp) - np.log1p(-sharp) if multiple else np.log(sharp)
    scaled = logit / found.temperature
    want = 1 / (1 + np.exp(-scaled))
    if not multiple:
        want = np.exp(scaled) / np.exp(scaled).sum(1, keepdims=True)
    assert after == pytest.approx(want, abs=1e-5)
    assert (after.argmax(1) == sharp.argmax(1)).all()
    assert found.temperature > 1
    assert found.nll_after < found.nll_before
    assert found.ece_after < found.ece_before
    assert found.examples == 120
    json.dumps(found.to_dict(), allow_nan=False)

    directory = save_directory(model.network, tmp_path / "saved", tokenizer=model.tokenizer)
    assert hanlin.load(directory).probabilities(texts) == pytest.approx(after, abs=1e-6)


def test_a_head_that_the_run_does_not_train_is_left_as_it_is(tmp_path):
    model = hanlin.load(save_encoder(tmp_path / "m", head="classify"))
    texts = [f"word {i}" for i in range(60)]
    labels = np.random.default_rng(0).integers(3, size=60).tolist()
    before = model.probabilities(texts)
    model.network.head.projection.requires_grad_(False)
    found = calibrate(model.network, batches_of(model, texts, labels))
    assert (found.temperature, found.nll_after) == (1.0, found.nll_before)
    assert "did not train" in found.left
    assert model.probabilities(texts) == pytest.approx(before)


def test_calibration_errors_are_those_of_a_plain_loop(tmp_path):
    model = hanlin.load(save_encoder(tmp_path / "m", head="classify"))
    rng = np.random.default_rng(2)
    texts = [" ".join(rng.choice(["text", "word", "token", "院"], 4)) for _ in range(80)]
    labels = rng.integers(3, size=80).tolist()
    scores = model.probabilities(texts)
    found = calibrate(model.network, batches_of(model, texts, labels))
    error = 0.0
    for number in range(15):
        chosen = [
            (row.max(), row.argmax() == label)
            for row, label in zip(scores, labels, strict=True)
            if number == min(int(row.max() * 15), 14)
        ]
        if chosen:
            sure, good = (float(np.mean(one)) for one in zip(*chosen, strict=True))
            error += len(chosen) / 80 * abs(sure - good)
    assert found.ece_before == pytest.approx(error, abs=1e-5)
    want = -np.log(scores[np.arange(80), labels]).mean()
    assert found.nll_before == pytest.approx(want, rel=1e-5)


def test_only_a_classifier_of_labels_is_calibrated(tmp_path):
    for problem in ("regression", None):
        directory = save_encoder(
            tmp_path / str(problem),
            **({"head": "classify", "problem": problem} if problem else {"head": "masked-lm"}),
        )
        with pytest.raises(ConfigError, match="classifier of labels"):
            calibrate(hanlin.load(directory).network, [])
