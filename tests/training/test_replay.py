"""Old examples among new ones: how many, which, and in what order."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hanlin.config import read_config, to_plain
from hanlin.data.examples import Ids
from hanlin.data.loader import Loader
from hanlin.errors import ConfigError, InputError
from hanlin.training.config import TrainConfig
from hanlin.training.replay import Replayed
from hanlin.training.sections import ReplaySettings


class Named:
    """Examples that say who and when they are."""

    notes = ()

    def __init__(self, name: str, count: int, lengths: list[int] | None = None) -> None:
        self.name, self.count = name, count
        self.lengths: Ids | None = None if lengths is None else np.array(lengths)

    def __len__(self) -> int:
        return self.count

    def example(self, index: int, epoch: int) -> Any:
        return self.name, index, epoch


sizes = st.integers(1, 40)
shares = st.floats(0.02, 0.95)


def replayed(new: int, old: int, share: float, seed: int = 0) -> Replayed | None:
    if not round(new * share / (1 - share)):
        return None
    return Replayed(Named("new", new), Named("old", old), share=share, seed=seed)


@settings(deadline=None)
@given(sizes, sizes, shares, st.integers(0, 3))
def test_an_epoch_has_every_new_example_once_and_its_share_of_old_ones(
    new: int, old: int, share: float, epoch: int
) -> None:
    if (both := replayed(new, old, share)) is None:
        return
    found = [both.example(index, epoch) for index in range(len(both))]
    assert [who for who in found if who[0] == "new"] == [("new", n, epoch) for n in range(new)]
    slots = len(both) - new
    assert abs(slots - share * len(both)) <= 1
    assert all(0 <= n < old and e == epoch for who, n, e in found if who == "old")


@settings(deadline=None)
@given(sizes, sizes, shares)
def test_no_old_example_comes_again_before_its_neighbours_have_come(
    new: int, old: int, share: float
) -> None:
    if (both := replayed(new, old, share)) is None:
        return
    epochs = -(-old // both.slots)
    counts = Counter(both.replayed(slot, e) for e in range(epochs) for slot in range(both.slots))
    if both.slots <= old:
        # Stretches differ in length by one: the shorter ones begin again an epoch earlier.
        assert set(counts) == set(range(old))
        assert max(counts.values()) <= 2
    for epoch in range(3):
        shown = [both.replayed(slot, epoch) for slot in range(both.slots)]
        assert max(Counter(shown).values()) <= -(-both.slots // old)


def test_what_is_replayed_depends_on_seed_epoch_and_index_alone() -> None:
    first, again = replayed(50, 300, 0.2, seed=7), replayed(50, 300, 0.2, seed=7)
    other = replayed(50, 300, 0.2, seed=8)
    assert first is not None
    assert again is not None
    assert other is not None
    places = [(i, e) for e in range(3) for i in range(len(first))]
    here = [first.example(*place) for place in places]
    assert here == [again.example(*place) for place in reversed(places)][::-1]
    assert here != [other.example(*place) for place in places]


def test_old_and_new_are_mixed_in_every_stretch_of_a_run() -> None:
    both = replayed(900, 5000, 0.1)
    assert both is not None
    loader = Loader(both, lambda rows: rows, sequences=50, seed=0)  # type: ignore[arg-type, return-value]
    counts = []
    for step in range(40):
        [rows] = loader.step(step)
        counts.append(sum(who == "old" for who, _, _ in rows))  # type: ignore[attr-defined]
    assert sum(counts) == pytest.approx(200, rel=0.05)
    assert all(0 < count < 15 for count in counts)


def test_a_slot_shows_old_examples_of_like_length() -> None:
    draw = np.random.default_rng(3)
    lengths = draw.integers(5, 200, 400).tolist()
    both = Replayed(Named("new", 60, [10] * 60), Named("old", 400, lengths), share=0.4, seed=0)
    assert both.lengths is not None
    assert len(both.lengths) == len(both)
    own = both.lengths[60:]
    for epoch in range(10):
        shown = np.array([lengths[both.replayed(slot, epoch)] for slot in range(both.slots)])
        assert (shown <= own).all()
        assert (own - shown).max() <= 20


def test_shares_that_come_to_nothing_are_refused() -> None:
    with pytest.raises(InputError, match="none at all"):
        Replayed(Named("new", 3), Named("old", 3), share=0.01, seed=0)
    with pytest.raises(InputError, match="no old examples"):
        Replayed(Named("new", 3), Named("old", 0), share=0.5, seed=0)
    with pytest.raises(ConfigError, match="above 0"):
        Replayed(Named("new", 3), Named("old", 3), share=1.0, seed=0)


SETTINGS: dict[str, Any] = {
    "model": "old-model",
    "data": {"train": "new.txt", "replay": {"sources": "old.txt", "share": "20%"}},
    "evaluate": {"remember": {"wiki": "wiki.txt", "news": ["a.txt", "b.txt"]}},
    "duration": "5 steps",
    "output": "runs/x",
}


def test_the_settings_are_read_and_written() -> None:
    config = read_config(SETTINGS, into=TrainConfig)
    assert config.data.replay == ReplaySettings(sources=("old.txt",), share=0.2)
    assert config.evaluate.remember == {"wiki": ("wiki.txt",), "news": ("a.txt", "b.txt")}
    assert read_config(to_plain(config), into=TrainConfig) == config


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("data.replay.share=120%", "must be above 0 % and below 100 %"),
        ("data.replay.share=0", "must be above 0 % and below 100 %"),
        ("data.replay.sources=[]", "names no source"),
        ("data.replay.shares=10%", "Did you mean data.replay.share"),
        ("model={family: llama}", "fresh model, which knows nothing"),
    ],
)
def test_settings_that_mean_nothing_are_refused(change: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read_config(SETTINGS, [change], into=TrainConfig)
