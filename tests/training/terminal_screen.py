"""A terminal that understands what a view that redraws itself needs, and breaks lines anew when
it is resized, as terminals do."""

import fcntl
import os
import re
import struct
import termios
import threading
import unicodedata

TOKEN = re.compile(r"\x1b\[(\d*)([A-Za-z])|\x1b\[([\d;]*)m|([\r\n])|([^\x1b\r\n]+)|(\x1b)")


def cells(text: str) -> int:
    """Width on this terminal, counted without the code under test."""
    wide = sum(unicodedata.east_asian_width(c) in ("W", "F") for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)


class Screen:
    """Lines as they were ended by a newline; how many rows each takes depends on the width."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.lines = [""]
        self.at = 0
        """The line the cursor is in, at its beginning or its end."""

    def rows(self, line: str) -> int:
        return max(-(-cells(line) // self.columns), 1)

    def feed(self, text: str) -> None:
        for found in TOKEN.finditer(text):
            count, command, _, move, plain, stray = found.groups()
            assert stray is None, f"an escape sequence that is none: {text!r}"
            if command == "A":
                self.up(int(count or 1))
            elif command == "J":
                del self.lines[self.at + 1 :]
                self.lines[self.at] = ""
            elif command == "K":
                self.lines[self.at] = ""
            elif command == "m" or found[3] is not None:
                continue
            elif command is not None:
                raise AssertionError(f"a command that is not expected: {found[0]!r}")
            elif move == "\n":
                self.at += 1
                if self.at == len(self.lines):
                    self.lines.append("")
            elif plain is not None:
                self.lines[self.at] += plain

    def up(self, rows: int) -> None:
        while rows > 0:
            self.at -= 1
            assert self.at >= 0, "moved above the first line"
            rows -= self.rows(self.lines[self.at])
        assert rows == 0, "landed in the middle of a line"

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


class Pty:
    """A pseudo-terminal with a screen that follows what is written to it."""

    def __init__(self, columns: int, rows: int = 24) -> None:
        self.main, self.side = os.openpty()
        attributes = termios.tcgetattr(self.side)
        attributes[1] &= ~termios.OPOST  # a newline comes through as one
        termios.tcsetattr(self.side, termios.TCSANOW, attributes)
        self.screen = Screen(columns)
        self.widest = 0
        self.raw = ""
        self.resize(columns, rows)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def resize(self, columns: int, rows: int = 24) -> None:
        fcntl.ioctl(self.side, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.columns = columns

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self.main, 1 << 16)
            except OSError:
                return
            if not data:
                return
            self.raw += data.decode("utf-8")

    def close(self) -> str:
        """End it; returns all that was written."""
        os.close(self.side)
        self._reader.join(5)
        os.close(self.main)
        return self.raw
