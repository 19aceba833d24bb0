"""What of an evaluation set stands in a training text, against a loop over all runs."""

import random
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hanlin.data.prepare import prepare
from hanlin.errors import ConfigError, InputError
from hanlin.evaluation.contamination import contamination
from tiny_models import CORPUS, byte_tokenizer

WORDS = "the cat sat on a mat and saw five birds fly over old grey hills".split()


def by_hand(examples: list[str], texts: list[str], n: int) -> list[float]:
    """The share of each example's words that stand in runs found in a text: sets of tuples."""

    def units(text: str) -> list[str]:
        return re.findall(r"[\u4e00-\u9fff]|[^\W_\u4e00-\u9fff]+", text.lower())

    shares = []
    for example in examples:
        words = units(example)
        size = min(n, len(words))
        if len(words) < 5:
            shares.append(0.0)
            continue
        known = set()
        for text in texts:
            other = units(text)
            known |= {tuple(other[i : i + size]) for i in range(len(other) - size + 1)}
        covered = [False] * len(words)
        for i in range(len(words) - size + 1):
            if tuple(words[i : i + size]) in known:
                covered[i : i + size] = [True] * size
        shares.append(sum(covered) / len(covered))
    return shares


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(5, 13))
def test_the_shares_are_those_of_a_plain_loop(seed: int, n: int) -> None:
    rng = random.Random(seed)

    def text(length: int) -> str:
        alphabet = [*WORDS[:3], "词", "元"]  # few words: runs do occur twice
        return rng.choice([" ", ", "]).join(rng.choice(alphabet) for _ in range(length))

    examples = [text(rng.randrange(1, 40)) for _ in range(5)]
    texts = [text(rng.randrange(0, 200)) for _ in range(3)]
    texts.append("word " + examples[0] + " word")
    found = contamination(examples, texts=texts, n=n)
    assert list(found.shares) == pytest.approx(by_hand(examples, texts, n))
    assert found.touched == sum(share > 0 for share in found.shares)


def test_the_worst_examples_come_with_what_was_found() -> None:
    example = " ".join(WORDS)
    other = "Nothing of this example is to be found in any of the texts that were read here at all."
    text = f"Before it: {' '.join(WORDS[:14]).upper()}! After it."
    found = contamination([other, example], texts=["another", text])
    assert found.shares[0] == 0
    assert found.shares[1] == pytest.approx(14 / len(WORDS))
    [worst] = found.worst
    assert (worst.number, worst.text) == (1, example)
    assert "THE CAT SAT" in worst.found
    assert worst.source == "text 2"


def test_chinese_is_looked_for_by_characters_whatever_stands_between() -> None:
    poem = "床前明月光，疑是地上霜。举头望明月，低头思故乡。"
    found = contamination([poem], texts=["他念道：床前明月光 疑是地上霜 举头望明月 低头思故乡"])
    assert found.shares == (1.0,)
    assert found.mostly == 1
    assert contamination([poem], texts=["床前明月光，举头望明月"]).shares == (0.0,)


@pytest.mark.parametrize(
    ("example", "training"),
    [
        # Thai: 23 characters without a space, in a text without one.
        ("ประเทศไทยมีกี่จังหวัดครับ", "เขาถามว่าประเทศไทยมีกี่จังหวัดครับแล้วเดินไป"),
        ("人々は〇〇と代々言ったのである", "昔、人々は〇〇と代々言ったのであると聞く"),
        # Full-width letters and digits, half-width kana, a letter and its accent.
        ("Ｗｈａｔ is １＋１ in café au lait", "so what is 1 + 1 in cafe\u0301 au lait, they ask"),
        ("ガラスのコップはどこにありますか", "彼はｶﾞﾗｽのｺｯﾌﾟはどこにありますかと聞いた"),
    ],
    ids=["thai", "iteration marks", "width", "kana"],
)
def test_scripts_and_encodings_of_the_same_text_are_found(example: str, training: str) -> None:
    assert contamination([example], texts=[training]).shares == (1.0,)


def test_the_marks_of_a_script_without_spaces_are_units() -> None:
    # 々 between others is one by itself: no run of the one text is in the other.
    assert contamination(["人々人々人々人々"], texts=["人人人人人人人人"]).shares == (0.0,)


def test_of_several_texts_of_an_example_the_one_that_is_found_counts() -> None:
    question = "Which of these is a liquid at the temperature of rooms"
    whole = f"{question} water from a spring"
    training = f"{question}? (A) iron (B) water from a spring"
    assert contamination([whole], texts=[training]).shares == (0.0,)
    found = contamination([(question, whole), ("no", "not it")], texts=[training])
    assert found.shares == (1.0, 0.0)
    assert (found.touched, found.unchecked, found.share) == (1, 1, 1.0)
    assert found.worst[0].text == question
    # Where both are found wholly, it is the longer that is shown.
    assert contamination([(question, whole)], texts=[whole]).worst[0].text == whole


def test_short_examples_are_counted_and_not_looked_for() -> None:
    found = contamination(["yes it is so", "the cat sat on a mat"], texts=["the cat sat on a mat"])
    assert found.unchecked == 1
    assert found.shares == (0.0, 1.0)


def test_a_run_across_the_parts_of_a_long_text_is_found(tmp_path: Path) -> None:
    from hanlin.text.documents import PART

    example = " ".join(WORDS)
    filler = "filler " * (PART // 7 - 3)
    (tmp_path / "long.txt").write_text(filler + example + " " + filler, encoding="utf-8")
    assert contamination([example], tmp_path / "long.txt").shares == (1.0,)


def test_files_and_token_shards_give_the_same(tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    for number, text in enumerate(CORPUS):
        (tmp_path / "text" / f"{number}.txt").write_text(text, encoding="utf-8")
    byte_tokenizer().save(tmp_path / "tokenizer")
    prepare(tmp_path / "text", tmp_path / "shards", tokenizer=byte_tokenizer())
    examples = [CORPUS[0], CORPUS[3], "A text that stands in none of all the files that there are."]
    files = contamination(examples, tmp_path / "text")
    shards = contamination(examples, tmp_path / "shards")
    assert files.shares == shards.shares == (1.0, 1.0, 0.0)
    assert "0.txt" in files.worst[0].source
    assert "document" in shards.worst[0].source


def test_nothing_to_look_for_or_in_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no examples"):
        contamination([], texts=["a"])
    with pytest.raises(InputError, match="empty"):
        contamination(["a b c d e f"], texts=[])
    with pytest.raises(ConfigError, match="one of them"):
        contamination(["a b c d e f"])
    with pytest.raises(ConfigError, match="Raise it"):
        contamination(["a b c d e f"], texts=["a"], n=2)
