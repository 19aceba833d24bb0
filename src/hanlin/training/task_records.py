"""What a task learns from: the records of its files, a part of them held out, their hash."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from itertools import accumulate
from typing import Any, TypeVar

from hanlin.data.order import SPLIT, rng
from hanlin.errors import InputError
from hanlin.training.config import TrainConfig
from hanlin.training.objectives import RecordObjective

T = TypeVar("T")


def read_parts(
    config: TrainConfig, objective: RecordObjective, *, tell: Callable[[str], None]
) -> tuple[list[Any], list[Any]]:
    """The records to learn from, and those to look at, which may be none.

    Raises what the objective's `read` raises, and `InputError` where a part would be empty.
    """
    data = config.data
    train = objective.read(data.train, data, tell=tell)
    held: list[Any] = []
    if (share := data.validation_share) is not None:
        train, held = hold_out(train, share, seed=config.seed)
    elif data.validation:
        held = objective.read(data.validation, data, tell=tell)
    tell(f"{len(train):,} records to learn from, {len(held):,} to look at.")
    return train, held


def hold_out(records: Sequence[T], share: float, *, seed: int) -> tuple[list[T], list[T]]:
    """Two parts of the records, the second with `share` of them, drawn with `seed`.

    Records that belong together by their `group` (copies of one text, questions about one article,
    answers to one prompt) stand on one side, or what is looked at has been learnt. Where records
    have a `label`, each label has its share of both parts, and one that comes with a single text
    stays in the first; so has each of several labels, as far as their records allow. Raises
    `InputError` where a part would be empty.
    """
    groups: dict[Any, list[int]] = {}
    for at in rng(seed, 0, 0, purpose=SPLIT).permutation(len(records)).tolist():
        groups.setdefault(getattr(records[at], "group", at), []).append(at)
    together = {members[0]: members for members in groups.values()}
    drawn = list(together)
    label: list[Any] = [getattr(record, "label", "") for record in records]
    wanted = max(1, round(share * len(drawn)))
    if any(isinstance(each, tuple) for each in label):
        drawn = _of_several(label, drawn, share, wanted)
    elif any(label):
        texts = Counter(
            each for members in together.values() for each in {label[at] for at in members}
        )
        drawn = [at for at in drawn if all(texts[label[copy]] > 1 for copy in together[at])]
        # Evenly spaced places of a list that is ordered by label give each label its share.
        drawn.sort(key=label.__getitem__)
        wanted = min(wanted, len(drawn))
        drawn = [drawn[int((number + 0.5) * len(drawn) / wanted)] for number in range(wanted)]
    else:
        # Groups may be large: as many as the share of records needs.
        before = accumulate((len(together[at]) for at in drawn), initial=0)
        least = max(1, round(share * len(records)))
        drawn = [at for at, held in zip(drawn, before, strict=False) if held < least]
    out = {at for first in drawn for at in together[first]}
    if not 0 < len(out) < len(records):
        copies = len(together) == 1 < len(records)
        apart = ", for all are about one text and stay together" if copies else ""
        raise InputError(
            f"Of {len(records)} records {share:.2%} cannot be held out{apart}. Give more, or a "
            "validation part of its own (data.validation)."
        )
    return (
        [record for at, record in enumerate(records) if at not in out],
        [records[at] for at in sorted(out)],
    )


def _of_several(
    labels: Sequence[tuple[str, ...]], drawn: Sequence[int], share: float, wanted: int
) -> list[int]:
    """Of records with several labels each those to hold out, in the order they were `drawn` in.

    The rarest label takes its share first, as in Sechidis et al. 2011, for the records of a common
    one are easier to find; then come any records, up to `wanted`. A label keeps one record to be
    learnt from.
    """
    places: dict[str, list[int]] = {}
    for at in drawn:
        for each in labels[at]:
            places.setdefault(each, []).append(at)
    left = {each: len(found) for each, found in places.items()}
    out: dict[int, None] = {}

    def take(candidates: Sequence[int], count: int) -> None:
        for at in candidates:
            if count <= 0:
                return
            if at not in out and all(left[each] > 1 for each in labels[at]):
                out[at] = None
                count -= 1
                for each in labels[at]:
                    left[each] -= 1

    for each in sorted(places, key=lambda name: (len(places[name]), name)):
        had = len(places[each])
        take(places[each], int(share * had) - (had - left[each]))
    take(drawn, wanted - len(out))
    return list(out)


def records_hash(records: Sequence[Any]) -> str:
    """The same where the records are the same, in the same order."""
    whole = hashlib.sha256()
    for record in records:
        text = json.dumps(asdict(record), sort_keys=True, ensure_ascii=False, default=str)
        whole.update(text.encode("utf-8", "surrogatepass") + b"\n")
    return whole.hexdigest()


def texts_of(records: Sequence[Any]) -> Iterator[str]:
    """Every text in the records, for a tokenizer to be learnt from: their `texts`, where they say
    which of their fields are text and which are tags and the like."""
    for record in records:
        yield from _texts(getattr(record, "texts", None) or vars(record))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)
