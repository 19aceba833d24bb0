"""Labelling: what a model is sure of, what it asks, and what a person's answers become."""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, entropy

import hanlin as library
from hanlin.cli import run
from hanlin.errors import ConfigError, InputError
from hanlin.tasks.labelling import (
    SKIP,
    Asking,
    Floats,
    doubts,
    farthest,
    guesses_of,
    label,
    trigrams,
    wilson,
)
from hanlin.tasks.prompted import EMPTY, PromptedLabeller, spaced
from tiny_models import CORPUS, save_decoder, save_encoder


class Fixed:
    """A labeller that says what it was told to say."""

    labels = ("ham", "spam", "other")

    def __init__(self, said: Mapping[str, Sequence[float]]) -> None:
        self.said = said
        self.heard: list[str] = []

    def probabilities(
        self, texts: Sequence[str], *, progress: Callable[[int], None] | None = None
    ) -> Floats:
        self.heard += texts
        return np.array([self.said[text] for text in texts])


SAID = {
    "win money": [0.01, 0.98, 0.01],
    "hello mum": [0.97, 0.02, 0.01],
    "are you sure": [0.5, 0.45, 0.05],
    "are you there": [0.52, 0.43, 0.05],
    "what is it": [0.7, 0.2, 0.1],
    "see you at noon": [0.4, 0.3, 0.3],
}


def test_texts_are_sorted_out() -> None:
    found = label(Fixed(SAID), list(SAID), Asking(sure=0.95, ask=2, diverse=False))
    assert [(g.text, g.label) for g in found.sure] == [
        ("win money", "spam"),
        ("hello mum", "ham"),
    ]
    assert [g.text for g in found.asked] == ["are you sure", "are you there"]
    assert [g.second for g in found.asked] == ["spam", "spam"]
    assert {g.text for g in found.left} == {"what is it", "see you at noon"}
    assert found.agreed is None


def test_by_entropy_the_evenest_is_asked_first() -> None:
    asking = Asking(ask=1, by="entropy", diverse=False)
    assert [g.text for g in label(Fixed(SAID), list(SAID), asking).asked] == ["see you at noon"]


def test_diverse_questions_are_not_all_alike() -> None:
    found = label(Fixed(SAID), list(SAID), Asking(ask=2))
    assert [g.text for g in found.asked] == ["are you sure", "see you at noon"]


def test_a_text_that_comes_twice_is_asked_once() -> None:
    labeller = Fixed(SAID)
    texts = ["are you sure", "win money", "are you sure", "win money"]
    found = label(labeller, texts, Asking())
    assert labeller.heard == ["are you sure", "win money"]
    assert len(found.asked) == len(found.sure) == 1


def test_answers_are_merged_and_not_asked_again() -> None:
    answers = {"are you sure": "ham", "win money": "other", "what is it": SKIP, "unseen": "spam"}
    labeller = Fixed({**SAID, "unseen": [0.2, 0.7, 0.1]})
    found = label(labeller, list(SAID), Asking(), answers=answers)
    assert found.answered == {"are you sure": "ham", "win money": "other", "unseen": "spam"}
    assert found.skipped == ("what is it",)
    assert [g.text for g in found.sure] == ["hello mum"]
    assert {g.text for g in found.asked} == {"are you there", "see you at noon"}


def test_checks_are_drawn_from_what_is_sure_and_judge_the_model() -> None:
    many = {f"text {n}": [0.99, 0.005, 0.005] for n in range(100)}
    first = label(Fixed(many), list(many), Asking(check=10, seed=1))
    assert len(first.checks) == 10
    assert {g.text for g in first.checks} <= {g.text for g in first.sure}
    assert first.checks != label(Fixed(many), list(many), Asking(check=10, seed=2)).checks
    texts = [g.text for g in first.checks]
    answers = {text: "ham" if n < 8 else "spam" for n, text in enumerate(texts)}
    # An answer to a question, and not a check, says nothing of what is sure.
    answers["text 0"] = "spam"
    again = label(Fixed(many), list(many), Asking(), answers=answers, checked=texts)
    assert again.agreed is not None
    assert (again.agreed.checked, again.agreed.right) == (10, 8)
    assert again.agreed.low < 0.8 < again.agreed.high


def test_answers_that_are_no_label_are_refused() -> None:
    with pytest.raises(InputError, match=r"'spm'.*Did you mean 'spam'"):
        label(Fixed(SAID), list(SAID), Asking(), answers={"win money": "spm"})


@pytest.mark.parametrize("wrong", [{"sure": 0}, {"sure": 1.2}, {"ask": -1}, {"check": -1}])
def test_settings_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Asking(**wrong)


rows = st.lists(st.lists(st.floats(0.001, 1), min_size=3, max_size=3), min_size=1, max_size=20)


@settings(deadline=None)
@given(rows)
def test_doubt_is_between_certain_and_even(raw: list[list[float]]) -> None:
    shares = np.array(raw) / np.array(raw).sum(1, keepdims=True)
    for by in ("margin", "entropy"):
        found = doubts(shares, by)  # type: ignore[arg-type]
        assert ((found >= -1e-9) & (found <= 1 + 1e-9)).all()
    np.testing.assert_allclose(
        doubts(shares, "entropy"), entropy(shares, axis=1) / np.log(3), atol=1e-9
    )
    top = np.sort(shares, axis=1)
    np.testing.assert_allclose(doubts(shares, "margin"), 1 - (top[:, -1] - top[:, -2]))
    guessed = guesses_of([str(n) for n in range(len(raw))], "abc", shares, by="margin")
    assert ["abc".index(g.label) for g in guessed] == shares.argmax(1).tolist()


@settings(deadline=None)
@given(st.integers(0, 40), st.integers(1, 40))
def test_the_interval_of_a_share_is_wilsons(right: int, of: int) -> None:
    right = min(right, of)
    wanted = binomtest(right, of).proportion_ci(method="wilson")
    assert wilson(right, of) == pytest.approx((wanted.low, wanted.high), abs=1e-6)


def test_chosen_texts_lie_far_apart() -> None:
    texts = ["the cat sat", "the cat sat.", "the cats sat", "股票上涨", "股票上涨了", "12:30"]
    chosen = farthest(trigrams(texts), 3, weights=np.ones(len(texts)))
    assert {[0, 0, 0, 1, 1, 2][at] for at in chosen} == {0, 1, 2}
    assert sorted(farthest(trigrams(texts), 9, weights=np.ones(len(texts)))) == list(range(6))
    assert farthest(trigrams(texts), 0, weights=np.ones(len(texts))) == []


# Language models with a prompt


@pytest.fixture(scope="module")
def lm(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return library.load(
        save_decoder(tmp_path_factory.mktemp("lm") / "llama", initializer_range=0.4),
        dtype="float32",
    )


PROMPT, NAMES = "Text: {text}\nKind:", ("a word", "text", "the emperor")


def by_hand(lm: Any, text: str) -> Floats:
    """exp of the mean log probability of each label's tokens, one label at a time."""
    means = []
    for name in NAMES:
        before = PROMPT.replace("{text}", text)
        ids, offsets = lm.tokenizer.encode_offsets(f"{before} {name}")
        with torch.no_grad():
            shares = lm.network(torch.tensor([ids])).logits[0].double().log_softmax(-1)
        own = [at for at, (_, end) in enumerate(offsets) if end > len(before)]
        means.append(np.mean([float(shares[at - 1, ids[at]]) for at in own]))
    found: Floats = np.exp(means) / np.exp(means).sum()
    return found


def test_a_prompt_asks_which_label_would_be_written(lm: Any) -> None:
    labeller = PromptedLabeller(lm, PROMPT, NAMES, calibrate=False)
    texts = [CORPUS[0][:30], "什么是词元？", "14"]
    np.testing.assert_allclose(
        labeller.probabilities(texts), [by_hand(lm, text) for text in texts], atol=1e-5
    )


def test_what_is_said_of_nothing_is_divided_out(lm: Any) -> None:
    labeller = PromptedLabeller(lm, PROMPT, NAMES)
    prior = np.mean([by_hand(lm, text) for text in EMPTY], axis=0)
    np.testing.assert_allclose(labeller.prior, prior, atol=1e-5)
    right = by_hand(lm, "14") / prior
    np.testing.assert_allclose(labeller.probabilities(["14"])[0], right / right.sum(), atol=1e-5)
    told: list[int] = []
    many = labeller.probabilities([str(n) for n in range(40)], progress=told.append)
    assert sum(told) == len(many) == 40
    np.testing.assert_allclose(many.sum(1), 1)


def test_a_long_text_is_cut_and_the_prompt_kept(lm: Any) -> None:
    labeller = PromptedLabeller(lm, PROMPT, NAMES)
    long = " ".join(CORPUS[:8])
    assert len(lm.tokenizer.encode(long)) > lm.context
    asked = [labeller._asked(long, name) for name in NAMES]
    assert all(len(one.ids) <= lm.context for one in asked)
    assert all("Kind:" in lm.tokenizer.decode(one.ids) for one in asked)
    assert np.isfinite(labeller.probabilities([long])).all()


@pytest.mark.parametrize(
    ("before", "name", "written"),
    [
        ("Kind:", "good", " good"),
        ("Kind: ", "good", "good"),
        ("情感：", "正面", "正面"),
        ("Kind:", "正面", "正面"),
        ("情感：", "good", "good"),
    ],
)
def test_a_label_is_written_as_its_language_is(before: str, name: str, written: str) -> None:
    assert spaced(before, name) == written


def test_prompts_and_labels_that_cannot_be_used_are_refused(lm: Any) -> None:
    with pytest.raises(ConfigError, match=r"must have \{text\} once"):
        PromptedLabeller(lm, "Kind:", NAMES)
    with pytest.raises(ConfigError, match="two or more different"):
        PromptedLabeller(lm, PROMPT, ["one"])
    with pytest.raises(ConfigError, match="fills the 96 tokens"):
        PromptedLabeller(lm, " ".join(CORPUS[:8]) + PROMPT, NAMES)


# The command


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classifier") / "reviews"
    return save_encoder(folder, head="classify", initializer_range=0.5)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "reviews.csv"
    cut = (text[at : at + 20].strip() for text in CORPUS[:5] for at in range(0, 40, 5))
    texts = dict.fromkeys(text for text in cut if text)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("id", "review"), *enumerate(texts)])
    return path


def hanlin(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    capsys.readouterr()
    status = run([str(word) for word in words])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def questions(folder: Path) -> list[dict[str, str]]:
    with (folder / "questions.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def labelled(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "labelled.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_the_loop(
    capsys: pytest.CaptureFixture[str], classifier: Path, table: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "one", tmp_path / "two"
    common = ("label", classifier, table, "--sure", "0.6", "--ask", "5", "--json")
    status, out, err = hanlin(capsys, *common, "-o", first, "--check", "3")
    assert status == 0, err
    told = json.loads(out)
    asked = questions(first)
    assert (told["asked"], told["checks"]) == (5, 3)
    assert [row["why"] for row in asked] == ["unsure"] * 5 + ["check"] * 3
    doubt = [float(row["doubt"]) for row in asked[:5]]
    assert doubt == sorted(doubt, reverse=True)
    own = labelled(first)
    assert len(own) == told["labelled"]
    found = {g.text: g for g in map(_Row, own)}
    texts = [row["review"] for row in csv.DictReader(table.open(encoding="utf-8"))]
    for text, guess in zip(texts, library.load(classifier)(texts), strict=True):
        assert (guess.score >= 0.6) == (text in found)
        if text in found:
            assert found[text].label == guess.name
            assert found[text].probability == pytest.approx(guess.score, abs=1e-5)
    # A person answers all but one, and has none of the labels for another.
    for row in asked[:-1]:
        row["answer"] = "good"
    asked[0]["answer"] = SKIP
    answer(first, asked)
    status, _, err = hanlin(capsys, *common, "-o", first)
    assert status == 2
    assert "has answers, which would be lost" in err
    assert [row["answer"] for row in questions(first)] == [row["answer"] for row in asked]
    status, out, err = hanlin(capsys, *common, "-o", second, "--answers", first / "questions.csv")
    assert status == 0, err
    told = json.loads(out)
    assert (told["answered"], told["skipped"]) == (6, 1)
    assert told["agreement"]["checked"] == 2
    merged = labelled(second)
    by_person = {line["text"] for line in merged if line["by"] == "person"}
    assert by_person == {row["text"] for row in asked[1:-1]}
    assert asked[0]["text"] not in {line["text"] for line in merged}
    assert not {row["text"] for row in questions(second)} & {row["text"] for row in asked[:-1]}
    # What a person said stays said in the next rounds: also of what has no label, and of checks.
    new = questions(second)
    new[0]["answer"] = "bad"
    answer(second, new)
    third = tmp_path / "three"
    both = [second / "answers.csv", second / "questions.csv"]
    status, out, err = hanlin(
        capsys, *common, "-o", third, "--answers", both[0], "--answers", both[1]
    )
    assert status == 0, err
    told = json.loads(out)
    assert (told["answered"], told["skipped"]) == (7, 1)
    assert told["agreement"]["checked"] == 2
    assert not {row["text"] for row in questions(third)} & {
        row["text"] for row in [*asked[:-1], new[0]]
    }
    status, _, err = hanlin(capsys, *common, "-o", third)
    assert status == 2
    assert f"{third / 'answers.csv'} has answers, which would be lost" in err


def answer(folder: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Write questions back as a person filled them in."""
    with (folder / "questions.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a text, with a comma,good,unsure", "row 3: it has 4 columns"),
        (",good,unsure", "row 3 has an answer and no text"),
    ],
)
def test_a_broken_answer_is_named(
    capsys: pytest.CaptureFixture[str],
    classifier: Path,
    table: Path,
    tmp_path: Path,
    row: str,
    said: str,
) -> None:
    answers = tmp_path / "answers.csv"
    answers.write_text(f"text,answer,why\na text,good,unsure\n{row}\n", encoding="utf-8")
    words = ("label", classifier, table, "-o", tmp_path / "out", "--answers", answers)
    status, _, err = hanlin(capsys, *words)
    assert status == 2
    assert said in err
    assert not (tmp_path / "out").exists()


class _Row:
    def __init__(self, line: Mapping[str, Any]) -> None:
        self.text, self.label, self.probability = (
            line[k] for k in ("text", "label", "probability")
        )


def test_a_language_model_labels_with_a_prompt(
    capsys: pytest.CaptureFixture[str], table: Path, tmp_path: Path
) -> None:
    model = save_decoder(tmp_path / "llama")
    words = ("label", model, table, "-o", tmp_path / "out", "--sure", "0.4", "--json")
    status, _, err = hanlin(
        capsys, *words, "--prompt", "Text: {text}\\nKind:", "--labels", "word,text"
    )
    assert status == 0, err
    assert {line["label"] for line in labelled(tmp_path / "out")} <= {"word", "text"}
    status, _, err = hanlin(capsys, *words)
    assert status == 2
    assert "--prompt such as" in err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--labels", "a,b"), "labels of its own"),
        (("--column", "reviews"), "--column is 'reviews'"),
        (("--sure", "2"), "sure is 2"),
        (("--answers", "nowhere.csv"), "nowhere.csv"),
    ],
)
def test_bad_requests_are_refused_in_one_line(
    capsys: pytest.CaptureFixture[str],
    classifier: Path,
    table: Path,
    tmp_path: Path,
    more: tuple[str, ...],
    said: str,
) -> None:
    status, out, err = hanlin(capsys, "label", classifier, table, "-o", tmp_path / "out", *more)
    assert (status, out) == (2, "")
    assert said in err
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()
