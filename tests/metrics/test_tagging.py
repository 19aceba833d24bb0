"""Entities in tags: against conlleval's rules written down as a table of pairs of tags."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hanlin.errors import ConfigError, InputError
from hanlin.metrics import entities, tagging

TAGS = ["O", *(f"{place}-{kind}" for place in "BIES" for kind in ("PER", "LOC"))]
loose = st.lists(st.sampled_from(TAGS), max_size=12)
two = st.sampled_from([tag for tag in TAGS if tag[0] in "OBI"])


def by_conlleval(tags: list[str]) -> set[tuple[str, int, int]]:
    """Every span whose first token begins a chunk, whose last ends one, and that has no such border
    inside: all spans are tried."""

    def begins(before: str, tag: str) -> bool:
        if tag == "O":
            return False
        pairs = {"EE", "EI", "SE", "SI", "OE", "OI"}
        return tag[0] in "BS" or before[0] + tag[0] in pairs or before[1:] != tag[1:]

    def ends(tag: str, after: str) -> bool:
        if tag == "O":
            return False
        pairs = {"BB", "BS", "BO", "IB", "IS", "IO"}
        return tag[0] in "ES" or tag[0] + after[0] in pairs or tag[1:] != after[1:]

    padded = ["O", *tags, "O"]
    begin = [begins(padded[i], padded[i + 1]) for i in range(len(tags))]
    end = [ends(padded[i + 1], padded[i + 2]) for i in range(len(tags))]
    return {
        (tags[i][2:], i, j)
        for i in range(len(tags))
        for j in range(i, len(tags))
        if begin[i] and end[j] and not any(begin[i + 1 : j + 1]) and not any(end[i:j])
    }


def by_scheme(tags: list[str], *, closed: bool) -> set[tuple[str, int, int]]:
    """Every span whose tags are exactly those the scheme asks for, and which cannot go on."""
    found = set()
    for i in range(len(tags)):
        for j in range(i, len(tags)):
            kind, size = tags[i][2:], j - i + 1
            if not closed:
                wanted = [f"B-{kind}", *[f"I-{kind}"] * (size - 1)]
                whole = j + 1 == len(tags) or tags[j + 1] != f"I-{kind}"
            elif size == 1:
                wanted, whole = [f"S-{kind}"], True
            else:
                wanted, whole = [f"B-{kind}", *[f"I-{kind}"] * (size - 2), f"E-{kind}"], True
            if whole and tags[i : j + 1] == wanted:
                found.add((kind, i, j))
    return found


@settings(deadline=None)
@given(loose)
def test_entities_are_those_of_conlleval(tags):
    found = entities(tags)
    assert set(found) == by_conlleval(tags)
    assert found == sorted(found, key=lambda entity: entity[1])


@settings(deadline=None)
@given(st.lists(two, max_size=12))
def test_entities_of_iob2_are_strict(tags):
    assert set(entities(tags, scheme="IOB2")) == by_scheme(tags, closed=False)


@settings(deadline=None)
@given(loose)
def test_entities_of_bioes_are_strict(tags):
    assert set(entities(tags, scheme="BIOES")) == by_scheme(tags, closed=True)


@settings(deadline=None)
@given(st.lists(st.tuples(loose, st.randoms()), min_size=1, max_size=8))
def test_scores_are_those_of_sets_of_entities(drawn):
    labels = [tags for tags, _ in drawn]
    guesses = [[r.choice(TAGS) if r.random() < 0.3 else tag for tag in tags] for tags, r in drawn]
    true = {(n, *one) for n, tags in enumerate(labels) for one in by_conlleval(tags)}
    ours = {(n, *one) for n, tags in enumerate(guesses) for one in by_conlleval(tags)}
    if not true | ours:
        with pytest.raises(InputError, match="no entity"):
            tagging(labels, guesses)
        return
    got = {name: score.value for name, score in tagging(labels, guesses).metrics.items()}
    hits = len(true & ours)
    assert got["precision"] == pytest.approx(hits / len(ours) if ours else 0)
    assert got["recall"] == pytest.approx(hits / len(true) if true else 0)
    assert got["f1"] == pytest.approx(2 * hits / (len(true) + len(ours)))
    of_types = []
    for kind in {one[1] for one in true | ours}:
        some = [{one for one in found if one[1] == kind} for found in (true, ours)]
        of_types.append(2 * len(some[0] & some[1]) / (len(some[0]) + len(some[1])))
    assert got["f1_macro"] == pytest.approx(sum(of_types) / len(of_types))
    tokens = [
        a == b
        for one, other in zip(labels, guesses, strict=True)
        for a, b in zip(one, other, strict=True)
    ]
    assert got["accuracy"] == pytest.approx(sum(tokens) / len(tokens))


def test_a_known_case():
    labels = [["O", "O", "O", "B-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    guesses = [["O", "O", "B-MISC", "I-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    got = tagging(labels, guesses)
    assert got.metrics["f1"].value == 0.5
    assert [(row.name, row.f1, row.support) for row in got.types] == [("MISC", 0, 1), ("PER", 1, 1)]
    assert "tags:conlleval" in got.metrics["f1"].signature


def test_broken_tags_count_only_where_no_scheme_is_asked_for():
    assert entities(["O", "I-PER", "I-PER"]) == [("PER", 1, 2)]
    assert entities(["O", "I-PER", "I-PER"], scheme="IOB2") == []
    assert entities(["B-PER", "I-PER", "O"], scheme="BIOES") == []


def test_other_letters_for_the_same_places():
    """Segmentation's BMES and BILOU; a tag may have no type."""
    assert entities(["B", "M", "E", "S"]) == [("_", 0, 2), ("_", 3, 3)]
    assert entities(["B-X", "I-X", "L-X", "U-X"], scheme="BIOES") == [("X", 0, 2), ("X", 3, 3)]
    assert entities(["B-a-b", "I-a-b"]) == [("a-b", 0, 1)]


def test_many_sentences_have_an_interval():
    labels = [["B-PER", "O"], ["O", "B-LOC"]] * 10
    guesses = [["B-PER", "O"], ["O", "O"], ["O", "O"], ["O", "B-LOC"]] * 5
    score = tagging(labels, guesses).metrics["f1"]
    assert score.low is not None
    assert score.low < score.value < score.high


@pytest.mark.parametrize(
    ("labels", "guesses", "settings", "error", "named"),
    [
        ([["O"]], [["O"], ["O"]], {}, InputError, "2 predictions and 1 labels"),
        ([["O", "O"]], [["O"]], {}, InputError, "Sentence 1 has 2 labels and 1 predictions"),
        ([["PER"]], [["O"]], {}, InputError, "'PER' is no tag"),
        ([["B_PER"]], [["O"]], {}, InputError, "'B_PER' is no tag"),
        ([[""]], [["O"]], {}, InputError, "is no tag"),
        ([["S-PER"]], [["O"]], {"scheme": "IOB2"}, InputError, "no tag of IOB2"),
        ([["O"]], [["O"]], {"scheme": "BILOU"}, ConfigError, "scheme"),
    ],
)
def test_what_makes_no_sense_is_refused(labels, guesses, settings, error, named):
    with pytest.raises(error, match=named):
        tagging(labels, guesses, **settings)
