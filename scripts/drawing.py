"""A recording of a screen as one SVG file that plays by itself, needing nothing from outside it.

Light on bytes: a piece of text is written once, with the times at which it comes and goes, and
scrolling moves the whole page. Where nothing is animated (a printer, a reader who asked for less
motion) the last picture is shown.
"""

from dataclasses import dataclass
from html import escape
from itertools import groupby

from terminal import Cell, Screen, Style

FONTS = (
    "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono','Liberation Mono',"
    "'Noto Sans Mono CJK SC','Sarasa Mono SC','PingFang SC','Microsoft YaHei',monospace"
)
CELL, LINE, FONT_SIZE = 8.4, 20, 14  # pixels; a cell is as wide as most fonts' 0.6 em
WIDE_SIZE = 16  # pixels; with its spacing a Chinese character, 1 em wide, fills two cells
MARGIN, BAR = 16, 36
GROUND, INK, FAINT = "#0f1420", "#d6deeb", "#7c8899"


@dataclass
class Piece:
    """A run of cells of one style and width on one line, and the seconds during which it shows."""

    row: int
    column: int
    cells: list[Cell]
    born: float
    died: float | None = None

    @property
    def end(self) -> int:
        return self.column + len(self.cells)


class Film:
    """Pictures of a screen over time, kept as the pieces that changed between them."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.tops: list[tuple[float, int]] = [(0.0, 0)]
        self._seen: list[list[Cell]] = []
        self._alive: list[list[Piece]] = []

    def take(self, screen: Screen, time: float) -> None:
        """Add a picture of `screen` at `time` seconds, not before the last one."""
        new_rows = len(screen.lines) - len(self._seen)
        self._seen.extend([] for _ in range(new_rows))
        self._alive.extend([] for _ in range(new_rows))
        for row, line in enumerate(screen.lines):
            if line != self._seen[row]:
                self._change(row, line, time)
                self._seen[row] = list(line)
        if screen.top != self.tops[-1][1]:
            self.tops.append((time, screen.top))

    def _change(self, row: int, line: list[Cell], time: float) -> None:
        """Let go of what differs from `line`, from the first differing cell on, and add the new."""
        before = self._seen[row]
        pairs = zip(before, line, strict=False)
        same = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(before), len(line)))
        while 0 < same < len(line) and not line[same].text:
            same -= 1  # never between the halves of a wide character
        alive = []
        for piece in self._alive[row]:
            if piece.end <= same:
                alive.append(piece)
                continue
            kept = max(0, same - piece.column)
            if kept:
                left = Piece(row, piece.column, piece.cells[:kept], piece.born)
                self.pieces.append(left)
                alive.append(left)
                piece.cells, piece.column = piece.cells[kept:], same
            piece.died = time
            if piece.born == time:
                self.pieces.remove(piece)
        fresh = [Piece(row, column, cells, time) for column, cells in runs(line, start=same)]
        self.pieces.extend(fresh)
        self._alive[row] = alive + fresh


def runs(line: list[Cell], *, start: int) -> list[tuple[int, list[Cell]]]:
    """Split a line from a column on into runs of one style and one width, without mere blanks."""

    def kind(column: int) -> tuple[Style, bool]:
        here, after = line[column], line[column + 1 : column + 2]
        wide = not here.text or (bool(after) and not after[0].text)
        return here.style, wide

    found = []
    for (style, _), group in groupby(range(start, len(line)), kind):
        columns = list(group)
        if style.ground is None:
            while columns and line[columns[-1]].text == " ":
                columns.pop()
            while columns and line[columns[0]].text == " ":
                columns.pop(0)
        if columns:
            found.append((columns[0], [line[c] for c in columns]))
    return found


def svg(film: Film, *, columns: int, rows: int, title: str, length: float, note: str = "") -> str:
    """Draw the film as a window of `columns` by `rows` that plays for `length` seconds and repeats.

    A `length` of 0 draws the last picture alone, without motion.
    """
    width, height = columns * CELL + 2 * MARGIN, rows * LINE + BAR + 2 * MARGIN
    rules: list[str] = []
    body: list[str] = []
    spans = sorted(
        film.pieces, key=lambda p: (p.born, p.died is None, p.died or 0.0, p.row, p.column)
    )
    for number, ((born, died), group) in enumerate(groupby(spans, lambda p: (p.born, p.died))):
        drawn = "".join(_piece(piece) for piece in group)
        if not length and died is not None:
            continue
        if not length or (born == 0 and died is None):
            body.append(drawn)
            continue
        rules.append(_appearance(f"k{number}", born, died, length))
        gone = ' class="z"' if died is not None else ""
        body.append(f'<g{gone} style="animation-name:k{number}">{drawn}</g>')
    scroll = f"transform:translateY({-film.tops[-1][1] * LINE}px)"
    if length and len(film.tops) > 1:
        steps = (
            f"{_percent(t, length)}{{transform:translateY({-n * LINE}px)}}" for t, n in film.tops
        )
        rules.append(f"@keyframes s{{{''.join(steps)}}}")
        scroll += ";animation-name:s"
    motion = (
        f"g[style]{{animation:{length:.2f}s step-end infinite}}.z{{visibility:hidden}}"
        "@media(prefers-reduced-motion:reduce){g[style]{animation:none!important}}"
        if length
        else ""
    )
    dots = "".join(
        f'<circle cx="{MARGIN + 6 + 20 * i}" cy="{BAR / 2:g}" r="6" fill="{colour}"/>'
        for i, colour in enumerate(("#ff5f57", "#febc2e", "#28c840"))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}"'
        f' width="{width:g}" height="{height:g}" role="img">'
        f"<title>{escape(title)}</title><style>"
        f"text{{font:{FONT_SIZE}px {FONTS};fill:{INK};white-space:pre}}"
        f".b{{font-weight:700}}.f{{fill:{FAINT}}}"
        f".w{{font-size:{WIDE_SIZE}px;letter-spacing:{2 * CELL - WIDE_SIZE:.2g}px}}"
        f"{motion}{''.join(rules)}</style>"
        f'<rect width="100%" height="100%" rx="10" fill="{GROUND}"/>{dots}'
        f'<text x="{width / 2:g}" y="{BAR / 2 + 5:g}" text-anchor="middle" class="f">'
        f"{escape(title)}</text>"
        f'<text x="{width - MARGIN:g}" y="{BAR / 2 + 5:g}" text-anchor="end" class="f"'
        f' font-size="11" style="font-size:11px">{escape(note)}</text>'
        f'<svg x="{MARGIN}" y="{BAR + MARGIN / 2:g}" width="{columns * CELL:g}"'
        f' height="{rows * LINE}"><g xml:space="preserve" style="{scroll}">{"".join(body)}</g>'
        "</svg></svg>\n"
    )


def _piece(piece: Piece) -> str:
    """One piece as SVG text, stretched to its cells so that every font keeps the columns."""
    style, cells = piece.cells[0].style, len(piece.cells)
    text = escape("".join(cell.text for cell in piece.cells), quote=False)
    x, y = f"{piece.column * CELL:.6g}", piece.row * LINE
    ground = (
        f'<rect x="{x}" y="{y}" width="{cells * CELL:.6g}" height="{LINE}" fill="{style.ground}"/>'
        if style.ground
        else ""
    )
    wide = not piece.cells[-1].text
    kinds = (("b", style.bold), ("f", style.faint), ("w", wide))
    looks = " ".join(name for name, on in kinds if on)
    attributes = f' class="{looks}"' if looks else ""
    attributes += f' style="fill:{style.ink}"' if style.ink else ""
    if cells > 1 and not wide:
        attributes += f' textLength="{cells * CELL:.6g}"'
    return f'{ground}<text x="{x}" y="{y + 15}"{attributes}>{text}</text>'


def _appearance(name: str, born: float, died: float | None, length: float) -> str:
    """Keyframes that show something from `born` until `died`, or until the film begins again."""
    steps = "" if born == 0 else "0%{visibility:hidden}"
    steps += f"{_percent(born, length)}{{visibility:visible}}"
    if died is not None:
        steps += f"{_percent(died, length)}{{visibility:hidden}}"
    return f"@keyframes {name}{{{steps}}}"


def _percent(time: float, length: float) -> str:
    return f"{min(99.99, 100 * time / length):.4g}%"
