"""``hanlin augment``: rows with copies of them whose texts differ a little."""

import json
from collections.abc import Callable, Sequence
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hanlin.cli import options
from hanlin.cli.files import whole_file
from hanlin.cli.language import say
from hanlin.cli.output import emit
from hanlin.cli.rows import read_texts
from hanlin.errors import ConfigError, InputError
from hanlin.progress import Progress

if TYPE_CHECKING:
    from hanlin.text.augment import Augmented

_NOISE = ("rate", "edits", "copies", "seed")


@click.command(
    help=say(
        "Write the rows of INPUT and copies of them to OUTPUT (.jsonl): the same labels, other "
        'words. A copy has a column "augmented" that says how it was made. Augment what is trained '
        "on, never what is measured on.\n\n"
        "noise: words and Chinese characters left out or exchanged, letters exchanged, capitals. "
        "back-translation: through another language and back, by two translation models.",
        "把 INPUT 的各行及其副本写入 OUTPUT（.jsonl）：标签不变，文字略有不同。副本的 augmented "
        "一列说明其来历。只应增广训练数据，切勿增广评测数据。\n\n"
        "noise：删去或对调词与汉字、对调字母、改变大小写。"
        "back-translation：用两个翻译模型译成另一种语言再译回来。",
    )
)
@click.argument("source", metavar="INPUT")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help=say("Where to write (.jsonl).", "写入何处（.jsonl）。"),
)
@click.option(
    "--method",
    type=click.Choice(["noise", "back-translation"]),
    default="noise",
    show_default=True,
    help=say("How copies are made.", "如何得到副本。"),
)
@click.option(
    "--rate", type=float, help=say("Share of words edited [0.1].", "改动的词所占比例 [0.1]。")
)
@click.option(
    "--edits",
    help=say(
        "Of delete, swap, letters, case, with commas between [all].",
        "从 delete、swap、letters、case 中选，以逗号分隔 [全部]。",
    ),
)
@click.option("--copies", type=int, help=say("Copies of each row [1].", "每行的副本数 [1]。"))
@click.option("--seed", type=int, help=say("Of the noise [0].", "噪声的随机种子 [0]。"))
@click.option(
    "--there", metavar="MODEL", help=say("Translates from the texts' language.", "由原语言译出。")
)
@click.option("--back", metavar="MODEL", help=say("Translates back into it.", "译回原语言。"))
@options.text_column
@options.skip_bad
@options.as_json
def command(
    source: str,
    output: Path,
    method: str,
    there: str | None,
    back: str | None,
    column: str | None,
    skip_bad: bool,
    as_json: bool,
    **noise: Any,
) -> None:
    """Read, copy, write."""
    if output.suffix != ".jsonl":
        raise ConfigError(f"{output} is not a name for JSON lines. Let it end in .jsonl.")
    _refuse(method, there, back, noise)
    rows, place = read_texts(source, column, skip_bad=skip_bad)
    values = [dict(row.values) for row in rows]
    too_long = 0
    if method == "noise":
        found = _noised(values, place, **noise)
    else:
        assert there is not None
        assert back is not None
        found, too_long = _translated(values, place, there, back)
    nothing_new = found.left_out - too_long
    with whole_file(output) as file:
        for row in found.rows:
            print(json.dumps(row, ensure_ascii=False, default=str), file=file)
    emit(
        {
            "path": str(output),
            "originals": len(values),
            "copies": found.made,
            "left_out": nothing_new,
            "too_long": too_long,
        },
        as_json=as_json,
        text=say(
            f"{len(values)} rows and {found.made} copies in {output}; {nothing_new} copies that "
            "said nothing new were left out",
            f"{output} 中有原文 {len(values)} 行、副本 {found.made} 行；"
            f"另有 {nothing_new} 个没有新内容的副本已舍去",
        )
        + say(
            f"; {too_long} texts are longer than a translator reads and have no copy",
            f"；{too_long} 个文本超出翻译模型的长度，没有副本",
        )
        * (too_long > 0),
    )


def _refuse(method: str, there: str | None, back: str | None, noise: dict[str, Any]) -> None:
    """Raise `ConfigError` for settings of the other method, and for models that are missing."""
    if method == "noise":
        if there is not None or back is not None:
            raise ConfigError("--there and --back are for --method back-translation. Add that.")
        return
    if given := [f"--{name}" for name in _NOISE if noise[name] is not None]:
        raise ConfigError(
            f"{', '.join(given)} would be ignored by back-translation. Leave it out, or use "
            "--method noise."
        )
    if there is None or back is None:
        raise ConfigError("Back-translation needs two models. Name them by --there and --back.")


def _noised(
    values: list[dict[str, Any]],
    place: str,
    *,
    rate: float | None,
    edits: str | None,
    copies: int | None,
    seed: int | None,
) -> "Augmented":
    from hanlin.text.augment import Noise, with_noise

    given: dict[str, Any] = {} if rate is None else {"rate": rate}
    if edits is not None:
        given["edits"] = tuple(name.strip() for name in edits.split(","))
    return with_noise(
        values,
        Noise(**given),
        column=place,
        copies=1 if copies is None else copies,
        seed=seed or 0,
    )


def _translated(
    values: list[dict[str, Any]], place: str, there: str, back: str
) -> tuple["Augmented", int]:
    """The rows with their copies, and how many texts were too long for a translator."""
    from hanlin.text.augment import with_translation

    with Progress("translate", total=2 * len(values), unit="texts") as progress:
        ways = [_Translator(ref, progress.advance) for ref in (there, back)]
        found = with_translation(values, *ways, through=f"{there}, {back}", column=place)
    return found, sum(way.too_long for way in ways)


class _Translator:
    """What a model makes of texts; nothing of those that it cannot read whole."""

    def __init__(self, ref: str, done: Callable[[int], None]) -> None:
        from hanlin.tasks import Seq2SeqModel, load

        model = load(ref)
        if not isinstance(model, Seq2SeqModel):
            raise InputError(
                f"{ref} is {model.kind} and translates nothing. Name a translation model."
            )
        self.model = model
        self.done = done
        self.too_long = 0

    def __call__(self, texts: Sequence[str]) -> list[str]:
        fits = self.model.fits(texts)
        # A model may have written nothing on the way there.
        taken = [fit and bool(text.strip()) for text, fit in zip(texts, fits, strict=True)]
        self.too_long += fits.count(False)
        self.done(taken.count(False))
        made = iter(self.model(list(compress(texts, taken)), progress=self.done))
        return [next(made) if take else "" for take in taken]
