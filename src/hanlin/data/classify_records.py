"""What a classifier learns from: a text, or two, and its label, or several."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from hanlin.data.columns import looks_like_labels, looks_like_text, open_table, tell_columns
from hanlin.data.records import collect, label_in, labels_in, text_in
from hanlin.errors import InputError
from hanlin.text.tables import USUAL, BadRow, Row

ROLES = {role: USUAL[role] for role in ("text", "label", "text_pair")}
"""The parts that columns play: `text_pair` is a second text, which not all tasks have."""


@dataclass(frozen=True)
class ClassifyRecord:
    """One text with what it should be called."""

    text: str
    label: str | tuple[str, ...]
    """One label, or all of those that a text may have several of."""
    text_pair: str | None = None
    """The second of two texts that are judged together."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels as a tuple, however many there are."""
        return (self.label,) if isinstance(self.label, str) else self.label

    @property
    def group(self) -> tuple[str, str | None]:
        """What is read: its copies stand on one side of a split."""
        return self.text, self.text_pair


def read_classify(
    sources: Sequence[str],
    *,
    columns: Mapping[str, str],
    file_labels: Mapping[str, str],
    separator: str | None,
    skip_bad: bool,
    tell: Callable[[str], None],
) -> list[ClassifyRecord]:
    """The records of tables, or of files with a label each (file_labels: source -> label).

    separator: what stands between the labels of a text that has several. Labels that are lists are
    several too. Raises `ConfigError` and `InputError` naming the columns or rows at fault.
    """
    rows, found = _open(sources, columns, file_labels, tell)
    tell_columns(found, columns, tell)
    pair = found.get("text_pair")

    def parse(row: Row) -> ClassifyRecord:
        label: str | tuple[str, ...]
        if separator is not None or isinstance(row.values.get(found["label"]), list):
            label = labels_in(row, found["label"], separator=separator)
        else:
            label = label_in(row, found["label"])
        second = None if pair is None else text_in(row, pair)
        return ClassifyRecord(text_in(row, found["text"]), label, second)

    records = collect(rows, parse, skip_bad=skip_bad, tell=tell)
    if len({isinstance(record.label, str) for record in records}) > 1:
        raise InputError(
            f"Some rows have a list of labels in {found['label']} and some have one label. Make "
            "them all lists, or give objective.separator for texts with several."
        )
    return records


def columns_of(
    sources: Sequence[str], *, columns: Mapping[str, str], file_labels: Mapping[str, str]
) -> dict[str, str]:
    """Which column plays which part, as `read_classify` finds them; nothing where files have a
    label each."""
    if file_labels:
        return {}
    return _open(sources, columns, file_labels, lambda text: None)[1]


def _open(
    sources: Sequence[str],
    columns: Mapping[str, str],
    file_labels: Mapping[str, str],
    tell: Callable[[str], None],
) -> tuple[Iterator[Row | BadRow], dict[str, str]]:
    return open_table(
        sources,
        ROLES,
        given=columns,
        file_labels=file_labels,
        optional=("text_pair",),
        looks={"text": looks_like_text, "label": looks_like_labels},
        tell=tell,
    )


def labels_of(records: Sequence[ClassifyRecord]) -> tuple[str, ...]:
    """All labels: numbers by size, names in the order of their characters."""
    found = {label for record in records for label in record.labels}
    if all(label.lstrip("-").isdecimal() and label.isascii() for label in found):
        return tuple(sorted(found, key=int))
    return tuple(sorted(found))
