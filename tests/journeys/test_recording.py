"""The recording script: what a program writes in a terminal is what the picture shows, and when."""

import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from drawing import Film, svg  # noqa: E402
from terminal import Cell, Screen  # noqa: E402


def shown(lines: list[list[Cell]]) -> list[str]:
    return ["".join(cell.text for cell in line).rstrip() for line in lines]


def after(text: str, *, columns: int = 20, rows: int = 5) -> list[str]:
    screen = Screen(columns, rows)
    screen.write(text)
    return shown(screen.lines)


@pytest.mark.parametrize(
    ("written", "lines"),
    [
        ("one\r\ntwo", ["one", "two"]),
        ("loading\rdone", ["doneing"]),
        ("loading\r\x1b[Kdone", ["done"]),
        ("ab\bc", ["ac"]),
        ("\x1b[1;32mgreen\x1b[0m \x1b]0;title\x07plain", ["green plain"]),
        ("\x1b[?25lhidden cursor\x1b[?25h", ["hidden cursor"]),
        ("你好\r\x1b[2CX", ["你X"]),
        ("你好\rX", ["X 好"]),
        ("你好\x1b[2GX", [" X好"]),
        ("你好\x1b[4G\x1b[K", ["你"]),
        ("first\r\nsecond\x1b[A\x1b[2Kup", ["      up", "second"]),
        ("caf" + "e\u0301", ["cafe\u0301"]),
        ("a\tb", ["a       b"]),
        ("old\r\nold\x1b[H\x1b[Jnew", ["new", ""]),
    ],
)
def test_the_screen_shows_what_a_terminal_would(written: str, lines: list[str]) -> None:
    assert after(written) == lines


def test_a_long_line_wraps_and_a_wide_character_is_never_cut() -> None:
    assert after("abcdefg", columns=4) == ["abcd", "efg"]
    assert after("abc你", columns=4) == ["abc", "你"]


def test_colours_are_kept_with_the_text() -> None:
    screen = Screen(20, 5)
    screen.write("\x1b[1;38;2;1;2;3mA\x1b[0;48;5;196mB\x1b[mC")
    a, b, c = (cell.style for cell in screen.lines[0])
    assert (a.bold, a.ink) == (True, "#010203")
    assert (b.bold, b.ink, b.ground) == (False, None, "#ff0000")
    assert c == type(c)()


WRITTEN = st.lists(
    st.one_of(
        st.text(alphabet="ab 你好é<&", min_size=1, max_size=6),
        st.sampled_from("\r|\r\n|\b|\t|\x1b[K|\x1b[2K|\x1b[31m|\x1b[0m|\x1b[44m|\x1b[A".split("|")),
        st.sampled_from(["\x1b[3C", "\x1b[2D", "\x1b[5G", "\x1b[2;3H", "\x1b[J", "\x1b]0;t\x07"]),
    ),
    max_size=30,
)


@given(WRITTEN, st.data())
def test_a_sequence_cut_anywhere_is_read_as_if_whole(
    written: list[str], data: st.DataObject
) -> None:
    text = "".join(written)
    cut = data.draw(st.integers(0, len(text)))
    screen = Screen(12, 4)
    screen.write(text[:cut])
    screen.write(text[cut:])
    assert shown(screen.lines) == after(text, columns=12, rows=4)


@given(WRITTEN)
@settings(deadline=None)
def test_at_every_time_the_film_shows_the_screen_of_that_time(written: list[str]) -> None:
    screen, film, pictures = Screen(12, 4), Film(), []
    for time, text in enumerate(written):
        screen.write(text)
        film.take(screen, float(time))
        pictures.append((shown(screen.lines), screen.top))
    for time, (lines, top) in enumerate(pictures):
        drawn: list[list[Cell]] = [[] for _ in lines]
        for piece in film.pieces:
            if piece.born <= time and (piece.died is None or time < piece.died):
                line = drawn[piece.row]
                line.extend([Cell(" ", piece.cells[0].style)] * (piece.end - len(line)))
                line[piece.column : piece.end] = piece.cells
        assert shown(drawn) == lines
        assert [n for t, n in film.tops if t <= time][-1] == top


def record(tmp_path: Path, *arguments: str) -> tuple[subprocess.CompletedProcess[str], Path]:
    picture = tmp_path / "picture.svg"
    script = ROOT / "scripts/record.py"
    command = [sys.executable, script, "-o", picture, "--columns", "40", "--rows", "8", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False), picture


def texts(picture: Path) -> str:
    return "|".join(ET.parse(picture).getroot().itertext())


def test_a_command_is_recorded_with_what_it_asks_and_is_answered(tmp_path: Path) -> None:
    asks = "printf 'who> '; read name; echo \"你好 $name <&>\""
    ended, picture = record(tmp_path, "--still", asks, "> 小明", "echo end")
    assert ended.returncode == 0, ended.stderr
    drawn = texts(picture)
    assert "who>" in drawn
    assert drawn.count("小明") == 2
    assert "<&>" in drawn


def test_a_failing_command_draws_nothing(tmp_path: Path) -> None:
    ended, picture = record(tmp_path, "exit 3")
    assert ended.returncode == 1
    assert "ended with 3" in ended.stderr
    assert not picture.exists()


def test_a_long_pause_is_shortened_and_the_picture_says_so(tmp_path: Path) -> None:
    ended, picture = record(tmp_path, "--longest-pause", "0.1", "sleep 0.5; echo done")
    assert ended.returncode == 0, ended.stderr
    assert "pauses over 0.1 s cut" in texts(picture)


def test_the_picture_needs_nothing_from_outside_and_ends_on_the_last_screen() -> None:
    screen, film = Screen(20, 3), Film()
    screen.write("gone")
    film.take(screen, 0.0)
    screen.write("\r\x1b[Kstays")
    film.take(screen, 1.0)
    moving = svg(film, columns=20, rows=3, title="t", length=2.0)
    still = svg(film, columns=20, rows=3, title="t", length=0)
    assert moving.count("http") == 1  # the name of SVG itself
    assert "gone" in moving
    assert "gone" not in still
    assert "stays" in still
    for drawing in (moving, still):
        ET.fromstring(drawing)
