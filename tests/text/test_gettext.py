"""Translations: every form of the format, against a writer of our own and Python's msgfmt rules."""

from hypothesis import given, settings
from hypothesis import strategies as st

from hanlin.text import gettext
from hanlin.text.reading import Reading, ReadSettings

EXAMPLE = r"""
# translators
msgid ""
msgstr ""
"Content-Type: text/plain; charset=UTF-8\n"
"Plural-Forms: nplurals=2; plural=(n != 1);\n"

#. a comment
#: file.c:10
msgid "one"
msgstr "一"

#, python-format, fuzzy
msgid "guess"
msgstr "猜"

msgid "later"
msgstr ""

msgctxt "menu"
msgid ""
"two "
"lines\n"
msgstr ""
"两\t"
"行\"\\\n"
msgid "%d file"
msgid_plural "%d files"
msgstr[0] "%d 个文件"
msgstr[1] "%d 个文件们"

#~ msgid "gone"
#~ msgstr "没了"
"""


def texts(content: str, **changes) -> list[str]:
    reading = Reading("x.po")
    settings = ReadSettings(split="line", **changes)
    found = gettext.documents([content], settings, reading)
    return [document.text for document in found]


def test_the_translations_without_header_fuzzy_empty_and_obsolete_ones():
    assert texts(EXAMPLE) == ["一", '两\t行"\\\n', "%d 个文件", "%d 个文件们"]


def test_the_other_side_has_them_all():
    assert texts(EXAMPLE, field="msgid") == [
        "one", "guess", "later", "two lines\n", "%d file", "%d files",
    ]  # fmt: skip


def test_a_file_is_one_document_of_paragraphs_and_says_what_it_left_out():
    reading = Reading("x.po")
    (document,) = gettext.documents([EXAMPLE], ReadSettings(), reading)
    assert document.text.startswith("一\n\n两\t行")
    assert reading.problems == ["x.po: 1 fuzzy and 1 untranslated entries are left out."]


def test_a_line_that_belongs_to_nothing_is_counted():
    reading = Reading("x.po")
    list(gettext.entries(['msgid "a"\nmsgstr "b"\nwhat?\n'], reading))
    assert reading.dropped == {"not gettext": 1}


def quoted(text: str, cuts: list[int]) -> str:
    """As msgcat writes it: escaped, continued on lines of its own."""
    marks = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    pieces, at = [], 0
    for cut in sorted({min(cut, len(text)) for cut in cuts}):
        pieces.append(text[at:cut])
        at = cut
    pieces.append(text[at:])
    return "\n".join('"' + "".join(marks.get(c, c) for c in piece) + '"' for piece in pieces)


WORDS = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"], include_characters='\n\t\\"'),
    min_size=1,
    max_size=30,
)


@given(
    st.lists(st.tuples(WORDS, WORDS, st.lists(st.integers(0, 30), max_size=3))),
    st.integers(1, 50),
)
@settings(max_examples=80, deadline=None)
def test_what_is_written_is_read_whatever_pieces_it_comes_in(entries, step):
    content = 'msgid ""\nmsgstr "header"\n\n' + "\n".join(
        f"msgid {quoted(first, cuts)}\nmsgstr {quoted(second, cuts)}\n"
        for first, second, cuts in entries
    )
    chunks = [content[at : at + step] for at in range(0, len(content), step)]
    reading = Reading("x.po")
    found = list(gettext.entries(chunks, reading))[1:]
    assert [(e.strings["msgid"], e.strings["msgstr"]) for e in found] == [
        (first, second) for first, second, _ in entries
    ]
    assert not reading.dropped


def test_real_translations(shared_data):
    for path in sorted((shared_data / "python_docs_zh").rglob("*.po")):
        reading = Reading(path.name)
        content = path.read_text(encoding="utf-8")
        found = list(gettext.entries([content], reading))
        assert not reading.dropped
        assert len(found) == content.count("\nmsgid ")
