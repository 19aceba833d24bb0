"""Record commands as they run in a terminal, as an animated picture for the documentation.

    python scripts/record.py -o docs/images/demo.svg 'hanlin generate smollm2-135m "The sky is"'

Each command runs in a pseudo-terminal; the picture shows what it wrote, when it wrote it. An
argument that starts with "> " is typed as an answer to the command before it. Pauses longer than
`--longest-pause` are shortened, and then the picture says so. Fails if a command fails.
"""

import argparse
import codecs
import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time
from pathlib import Path

from drawing import Film, svg
from terminal import Screen

ROOT = Path(__file__).resolve().parents[1]
KEYSTROKE = 0.03  # seconds
STILL = 0.5  # seconds without output before an answer is typed
PICTURE_EVERY = 0.04  # seconds; finer changes are shown together
REST_AT_THE_END = 4.0  # seconds


class Recording:
    """What appeared on the screen, and when, on a clock that leaves out shortened pauses."""

    def __init__(self, *, columns: int, rows: int, longest_pause: float) -> None:
        self.screen = Screen(columns, rows)
        self.film = Film()
        self.time = 0.0
        self.shortened = 0.0
        self._longest_pause = longest_pause
        self._pictured, self._changed = -1.0, False

    def wait(self, seconds: float) -> None:
        """Let time pass before the next output; what was not pictured yet is, if it is seen now."""
        if self._changed and seconds >= PICTURE_EVERY:
            self.picture()
        self.time += min(seconds, self._longest_pause)
        self.shortened += max(0.0, seconds - self._longest_pause)

    def write(self, text: str) -> None:
        """Show output; outputs close to each other share a picture."""
        self.screen.write(text)
        self._changed = True
        if self.time - self._pictured >= PICTURE_EVERY:
            self.picture()

    def picture(self) -> None:
        self.film.take(self.screen, round(self.time, 2))
        self._pictured, self._changed = self.time, False


def main() -> int:
    """Record the commands on the command line; return the exit status."""
    options = parse()
    recording = Recording(
        columns=options.columns, rows=options.rows, longest_pause=options.longest_pause
    )
    for command, answers in scenes(options.commands):
        recording.write("\x1b[92m$\x1b[0m ")
        recording.wait(0.4)
        for letter in command:
            recording.write(letter)
            recording.wait(KEYSTROKE)
        recording.write("\r\n")
        status = run(command, answers, recording, ready=options.ready, limit=options.limit)
        if status != 0:
            print(f"error: {command!r} ended with {status}; nothing was drawn.", file=sys.stderr)
            return 1
        if recording.screen.column:
            recording.write("\r\n")
        recording.wait(0.8)
    recording.picture()
    film = recording.film
    if options.still:
        film = Film()
        film.take(recording.screen, 0.0)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    drawn = svg(
        film,
        columns=options.columns,
        rows=options.rows,
        title=options.title,
        length=0 if options.still else recording.time + REST_AT_THE_END,
        note=f"pauses over {options.longest_pause:g} s cut" if recording.shortened else "",
    )
    options.output.write_text(drawn, encoding="utf-8")
    size = options.output.stat().st_size / 1024
    print(
        f"{options.output}: {recording.time:.1f} s, {size:.0f} KB,"
        f" {recording.shortened:.1f} s of pauses left out"
    )
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Record commands as an animated SVG.")
    parser.add_argument("commands", nargs="+", help="shell commands; '> text' answers the last one")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "docs/images/demo.svg")
    parser.add_argument("--columns", type=int, default=88)
    parser.add_argument("--rows", type=int, default=24)
    parser.add_argument("--title", default="hanlin")
    parser.add_argument("--longest-pause", type=float, default=2.0, help="seconds (default 2)")
    parser.add_argument("--ready", default="> ", help="what the cursor stands behind when asked")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds for each command")
    parser.add_argument("--still", action="store_true", help="draw only the last picture")
    return parser.parse_args()


def scenes(arguments: list[str]) -> list[tuple[str, list[str]]]:
    """Pair every command with the answers that follow it."""
    found: list[tuple[str, list[str]]] = []
    for argument in arguments:
        if argument.startswith("> "):
            if not found:
                raise SystemExit("error: an answer ('> ...') must follow a command.")
            found[-1][1].append(argument[2:])
        else:
            found.append((argument, []))
    return found


def run(command: str, answers: list[str], recording: Recording, *, ready: str, limit: float) -> int:
    """Run a shell command in a terminal, recording it and answering it; return its exit status."""
    screen = recording.screen
    child, terminal = pty.fork()
    if child == 0:
        size = struct.pack("HHHH", screen.rows, screen.columns, 0, 0)
        fcntl.ioctl(0, termios.TIOCSWINSZ, size)
        os.chdir(ROOT)
        os.execve("/bin/sh", ["sh", "-c", command], surroundings())
    decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
    waiting = list(answers)
    started = last = time.monotonic()
    while True:
        now = time.monotonic()
        if now - started > limit:
            os.kill(child, signal.SIGKILL)
        if select.select([terminal], [], [], 0.05)[0]:
            try:
                output = os.read(terminal, 65536)
            except OSError:  # Linux reports the end of a terminal as an input error
                output = b""
            if not output:
                break
            now = time.monotonic()
            recording.wait(now - last)
            last = now
            recording.write(decode(output))
        elif answers and now - last > STILL and screen.before_cursor().endswith(ready):
            answer = f"{waiting.pop(0)}\r" if waiting else "\x04"
            for letter in answer:
                os.write(terminal, letter.encode())
                time.sleep(KEYSTROKE)
                if select.select([terminal], [], [], 0)[0]:
                    recording.wait(KEYSTROKE)
                    recording.write(decode(os.read(terminal, 65536)))
            last = time.monotonic()
    recording.picture()
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def surroundings() -> dict[str, str]:
    """The environment of a recorded command: colours, UTF-8, and hanlin's own programs first."""
    kept = {k: v for k, v in os.environ.items() if k not in ("LINES", "COLUMNS", "NO_COLOR")}
    path = f"{ROOT / '.venv/bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return kept | {"PATH": path, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}


if __name__ == "__main__":
    raise SystemExit(main())
