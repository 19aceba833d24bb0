"""Tables of texts for verbs that read them row by row: the rows, and the column of the text."""

from hanlin.cli.output import note
from hanlin.errors import ConfigError
from hanlin.text.tables import USUAL, Row


def read_texts(source: str, column: str | None, *, skip_bad: bool) -> tuple[list[Row], str]:
    """The rows of files that have a text, and the column it is in.

    column: its name, or its number in tables without a header; found by its usual names or its
    looks when None. Raises `ConfigError` where it is not plain, `InputError` for bad rows (with
    `skip_bad` they are left out, and told).
    """
    from hanlin.data.columns import looks_like_text, open_table
    from hanlin.data.records import collect, text_in

    try:
        rows, columns = open_table(
            [source],
            {"text": USUAL["text"]},
            given={} if column is None else {"text": column},
            looks={"text": looks_like_text},
            tell=note,
        )
    except ConfigError as error:
        raise ConfigError(
            str(error)
            .replace("data.columns.text=", "--column ")
            .replace("data.columns.text", "--column")
        ) from error
    place = columns["text"]

    def checked(row: Row) -> Row:
        text_in(row, place)
        return row

    return collect(rows, checked, skip_bad=skip_bad, tell=note), place
