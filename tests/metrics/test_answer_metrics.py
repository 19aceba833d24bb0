"""SQuAD's and CMRC's exact match and F1: against the rules written down again another way."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hanlin.errors import InputError
from hanlin.metrics import cmrc, cmrc_values, exact_match, squad, squad_values
from hanlin.metrics.mixed_answers import mixed_tokens

PIECES = ["the", "an", "A", "cat", "Cat!", "sat,", "-", "'s", "3.5", "  ", "U.S.", "theory", "“"]
english = st.lists(st.sampled_from(PIECES), max_size=6).map(" ".join)
MIXED = [
    "我",
    "们",
    "北",
    "京",
    "，",
    "。",
    "…",
    "GPT",
    "4",
    " ",
    "-",
    "《",
    "3.14",
    "A",
    "·",
    "㑩",
]
chinese = st.lists(st.sampled_from(MIXED), max_size=9).map("".join)


def squad_by_the_rules(prediction: str, answers: list[str]) -> tuple[float, float]:
    """One question, character by character and word by word."""

    def normal(text: str) -> list[str]:
        kept = [c for c in text.lower() if c not in "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"]
        # Beside letters, digits and the underscore an article stands alone.
        runs = itertools.groupby(kept, key=lambda c: c.isalnum() or c == "_")
        words = ["".join(run) for _, run in runs]
        return "".join(" " if word in ("a", "an", "the") else word for word in words).split()

    mine = normal(prediction)
    golds = [gold for gold in map(normal, answers) if gold] or [[]]
    best = 0.0
    for gold in golds:
        if not gold or not mine:
            best = max(best, float(gold == mine))
            continue
        left, shared = list(gold), 0
        for word in mine:
            if word in left:
                left.remove(word)
                shared += 1
        best = max(best, 2 * shared / (len(mine) + len(gold)))
    return float(mine in golds), best


@settings(max_examples=400, deadline=None)
@given(prediction=english, answers=st.lists(english, max_size=3))
def test_squad_follows_its_rules(prediction, answers):
    got = squad_values([prediction], [answers])
    want = squad_by_the_rules(prediction, answers)
    assert (got["exact_match"][0], got["f1"][0]) == pytest.approx(want)


@pytest.mark.parametrize(
    ("prediction", "answers", "exact", "f1"),
    [
        ("The Denver Broncos!", ["Denver Broncos", "Broncos"], 1, 1),
        ("Denver", ["Denver Broncos"], 0, 2 / 3),
        ("a cat and a cat", ["cat"], 0, 0.5),
        ("", [], 1, 1),
        ("something", [], 0, 0),
        ("", ["something"], 0, 0),
        ("Santa Clara", "Santa Clara, California", 0, 0.8),
    ],
)
def test_known_cases_of_squad(prediction, answers, exact, f1):
    got = squad([prediction], [answers])
    assert got["exact_match"].value == exact
    assert got["f1"].value == pytest.approx(f1)


def test_questions_without_an_answer_are_told_apart():
    got = squad(["x", "y", "", ""], [["x"], ["z"], [], ["w"]])
    assert got["exact_match"].value == 0.5
    assert got["answerable_exact_match"].value == pytest.approx(1 / 3)
    assert got["unanswerable_accuracy"].value == 1.0
    assert set(squad(["x"], [["x"]])) == {"exact_match", "f1"}
    assert set(cmrc(["我"], [["我"]])) == {"exact_match", "f1"}


def cmrc_by_the_rules(prediction: str, answers: list[str]) -> tuple[float, float]:
    """One question: the longest run by trying all of them; English only as words of letters."""
    dropped = set("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")

    def bare(text: str) -> str:
        return "".join(c for c in text.lower().strip() if c not in dropped)

    def tokens(text: str) -> list[str]:
        spaced = "".join(f" {c} " if "\u4e00" <= c <= "\u9fa5" else c for c in bare(text))
        return spaced.split()

    def runs(of: list[str]) -> set[tuple[str, ...]]:
        return {tuple(of[i:j]) for i in range(len(of)) for j in range(i + 1, len(of) + 1)}

    best = 0.0
    for answer in answers:
        mine, theirs = tokens(prediction), tokens(answer)
        size = max(map(len, runs(mine) & runs(theirs)), default=0)
        if size:
            best = max(best, 2 * size / (len(mine) + len(theirs)))
    return float(bare(prediction) in map(bare, answers)), best


@settings(max_examples=400, deadline=None)
@given(prediction=chinese, answers=st.lists(chinese, min_size=1, max_size=3))
def test_cmrc_follows_its_rules(prediction, answers):
    got = cmrc_values([prediction], [answers])
    want = cmrc_by_the_rules(prediction, answers)
    assert (got["exact_match"][0], got["f1"][0]) == pytest.approx(want)


@pytest.mark.parametrize(
    ("prediction", "answers", "exact", "f1"),
    [
        ("《战国无双3》", ["战国无双3"], 1, 1),
        ("光荣和ω-force", ["光荣", "光荣和ω-force开发"], 0, 8 / 10),
        ("北京市", ["京市人"], 0, 2 / 3),
        ("北a京", ["北京"], 0, 2 / 5),
        ("in the house", ["in a house"], 0, 1 / 3),
        ("我…", ["我"], 0, 2 / 3),
    ],
)
def test_known_cases_of_cmrc(prediction, answers, exact, f1):
    """One run counts and not a bag; the ellipsis is no punctuation to the script."""
    got = cmrc([prediction], [answers])
    assert got["exact_match"].value == exact
    assert got["f1"].value == pytest.approx(f1)


SCRAPS = [
    *"\"'.,()[]{}<>;@#$%&?!«»‘„…〈éabcdimnsty0 ",
    "cannot",
    "can't ",
    "'s ",
    "'ll ",
    "n't ",
    "d'ye",
    "gimme",
    "gonna",
    "gotta",
    "lemme",
    "more'n",
    "wanna ",
    " 'tis",
    "''",
    "...",
    "—",
    "\t",
]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(SCRAPS), min_size=1, max_size=9).map("".join))
def test_english_inside_chinese_is_cut_as_by_nltk(text):
    """The script's word_tokenize, which NLTK does with this class once sentences are apart."""
    words = pytest.importorskip("nltk.tokenize.destructive").NLTKWordTokenizer()
    assert mixed_tokens(text.strip()) == words.tokenize(text.strip())


def test_an_answer_is_its_own_best(shared_data):
    import json

    text = (shared_data / "cmrc2018" / "cmrc2018_trial.json").read_text(encoding="utf-8")
    asked = [
        [answer["text"] for answer in question["answers"]]
        for article in json.loads(text)["data"]
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    ]
    got = cmrc([answers[-1] for answers in asked], asked)
    assert got["exact_match"].value == 1.0
    assert got["f1"].value == 1.0


def test_exact_match_is_of_whole_texts():
    score = exact_match([" yes", "No", "no"], ["yes", "no", ["nope", "no"]])
    assert score.value == pytest.approx(2 / 3)
    assert exact_match(["No"], ["no"], ignore_case=True).value == 1.0
    assert "case:mixed" in score.signature


@pytest.mark.parametrize("metric", [squad, cmrc])
def test_lists_that_do_not_fit_are_refused(metric):
    with pytest.raises(InputError, match="1 predictions and 2 answers"):
        metric(["a"], [["a"], ["b"]])
    with pytest.raises(InputError, match="no predictions"):
        metric([], [])
    with pytest.raises(InputError, match="Answer 1 is NoneType"):
        metric(["a"], [None])
