"""``hanlin label``: a model labels what it is sure of and asks a person about the rest."""

import csv
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
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
    from hanlin.tasks.labelling import Labeller, Labelling
    from hanlin.text.tables import BadRow, Row

LABELLED, QUESTIONS, ANSWERS = "labelled.jsonl", "questions.csv", "answers.csv"
ANSWER = "answer"
"""The column of a question that a person fills in."""
PERSON, CHECK, UNSURE = "person", "check", "unsure"


@click.command(
    help=say(
        "Let MODEL label the texts of INPUT that it is sure of, into OUTPUT/labelled.jsonl, and "
        "ask about those it is least certain of, in OUTPUT/questions.csv: fill in the column "
        '"answer" (a label, or - for none of them), give the file back by --answers, train on what '
        "is labelled, and go round again. All answers so far are kept in OUTPUT/answers.csv, for "
        "the rounds after it.\n\n"
        "MODEL is a classifier; or a language model, with a --prompt and --labels.",
        "让 MODEL 给 INPUT 中有把握的文本打标签，写入 OUTPUT/labelled.jsonl；把最没把握的写入 "
        "OUTPUT/questions.csv 来提问：请填写 answer 一列（标签，或用 - 表示都不是），"
        "再用 --answers 交回，用已有标签训练，如此往复。至今的全部回答存于 OUTPUT/answers.csv，"
        "供以后各轮使用。\n\n"
        "MODEL 为分类器；若为语言模型，需给出 --prompt 与 --labels。",
    )
)
@click.argument("model")
@click.argument("source", metavar="INPUT")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help=say("The directory of labels and questions.", "存放标签与问题的目录。"),
)
@click.option(
    "--sure",
    type=float,
    default=0.95,
    show_default=True,
    help=say(
        "Probability from which on the model labels by itself.", "概率达到此值即由模型打标签。"
    ),
)
@click.option(
    "--ask",
    type=int,
    default=50,
    show_default=True,
    help=say("Questions at most.", "至多提多少个问题。"),
)
@click.option(
    "--check",
    type=int,
    default=0,
    show_default=True,
    help=say(
        "Ask for so many of the sure ones too, to see how often it errs.",
        "在有把握的文本中也抽这么多来提问，以了解其出错率。",
    ),
)
@click.option(
    "--by",
    type=click.Choice(["margin", "entropy"]),
    default="margin",
    show_default=True,
    help=say("What makes a text uncertain.", "按什么衡量没把握的程度。"),
)
@click.option(
    "--diverse/--no-diverse",
    default=True,
    show_default=True,
    help=say("Choose questions that differ from each other.", "挑选彼此不同的问题。"),
)
@click.option(
    "--answers",
    multiple=True,
    type=click.Path(path_type=Path),
    help=say(
        "Answered questions.csv, and answers.csv of the rounds before; may be repeated.",
        "已回答的 questions.csv，以及以往各轮的 answers.csv；可多次给出。",
    ),
)
@options.text_column
@options.skip_bad
@click.option(
    "--prompt",
    help=say(
        "Language models: what the label follows, {text} in it.",
        "语言模型：标签之前的提示，含 {text}。",
    ),
)
@click.option(
    "--labels",
    help=say("Language models: the labels, with commas between.", "语言模型：标签，以逗号分隔。"),
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help=say("Of --check.", "--check 的种子。")
)
@options.dtype
@options.as_json
def command(
    model: str,
    source: str,
    output: Path,
    answers: tuple[Path, ...],
    column: str | None,
    skip_bad: bool,
    prompt: str | None,
    labels: str | None,
    dtype: str,
    as_json: bool,
    **settings: Any,
) -> None:
    """Read, sort out, write."""
    rows, place = read_texts(source, column, skip_bad=skip_bad)
    texts = [str(row.values[place]) for row in rows]
    said, checked = _answers(answers)
    _keep_answers(output, said)

    from hanlin.tasks import load
    from hanlin.tasks.labelling import Asking, label

    asking = Asking(**settings)
    labeller = _labeller(load(model, dtype=dtype), prompt, labels)
    with Progress("label", total=len({*texts, *said}), unit="texts") as progress:
        found = label(
            labeller, texts, asking, answers=said, checked=checked, progress=progress.advance
        )
    output.mkdir(parents=True, exist_ok=True)
    with whole_file(output / LABELLED) as file:
        for line in _labelled(found, model):
            print(json.dumps(line, ensure_ascii=False), file=file)
    with whole_file(output / ANSWERS) as file:
        _write_answers(said, checked, file)
    with whole_file(output / QUESTIONS) as file:
        _write_questions(found, file)
    content = _content(found, output)
    emit(content, as_json=as_json, text=_told(found, output))


def _answers(paths: Sequence[Path]) -> tuple[dict[str, str], set[str]]:
    """Text -> what a person said, the later file's where several do; which of them were checks.

    Raises `InputError` for a row that cannot be read, and a file in which nothing is answered.
    """
    from hanlin.text.tables import BadRow

    said: dict[str, str] = {}
    checked: set[str] = set()
    for path in paths:
        found = 0
        for row in _rows(path):
            if isinstance(row, BadRow):
                raise InputError(f"{path}, row {row.number}: {row.reason} Correct it.")
            text, answer = row.values.get("text"), row.values.get(ANSWER)
            if not isinstance(answer, str) or not answer.strip():
                continue
            if not isinstance(text, str) or not text.strip():
                raise InputError(
                    f"{path}, row {row.number} has an answer and no text. Put its text into the "
                    'column "text", or leave the row out.'
                )
            said[text] = answer.strip()
            found += 1
            if row.values.get("why") == CHECK:
                checked.add(text)
        if not found:
            raise InputError(
                f"There is no answer in {path}. Give a {QUESTIONS} whose column {ANSWER!r} is "
                f"filled in, or an {ANSWERS}."
            )
    return said, checked


def _rows(path: Path) -> "Iterator[Row | BadRow]":
    from hanlin.text.tables import read_rows

    return read_rows(path, header=True)


def _keep_answers(output: Path, said: Mapping[str, str]) -> None:
    """Raise `ConfigError` where answers lie in the output that would be written over unread."""
    from hanlin.text.tables import BadRow

    for place in (output / QUESTIONS, output / ANSWERS):
        for row in _rows(place) if place.is_file() else ():
            lost = isinstance(row, BadRow) or (
                str(row.values.get(ANSWER) or "").strip() and row.values.get("text") not in said
            )
            if lost:
                raise ConfigError(
                    f"{place} has answers, which would be lost. Give it by --answers {place}, or "
                    "name another output."
                )


def _labeller(model: Any, prompt: str | None, labels: str | None) -> "Labeller":
    from hanlin.tasks import Classifier, LanguageModel
    from hanlin.tasks.prompted import PromptedLabeller

    given = prompt is not None or labels is not None
    if isinstance(model, Classifier):
        if given:
            raise ConfigError(
                f"{model.name} is a classifier with labels of its own. Leave --prompt and --labels "
                "out."
            )
        if model.network.config.problem != "single":
            raise InputError(
                f"{model.name} does not give a text one label of several. Use a model that does."
            )
        return model
    if isinstance(model, LanguageModel):
        if prompt is None or labels is None:
            raise ConfigError(
                f"{model.name} is a language model. Give a --prompt such as 'Review: {{text}}\\n"
                "Sentiment:' and --labels such as positive,negative."
            )
        names = [name.strip() for name in labels.replace("，", ",").split(",")]
        return PromptedLabeller(model, prompt.replace("\\n", "\n"), names)
    raise InputError(
        f"{model.name} is {model.kind} and gives no labels. Use a classifier or a language model."
    )


def _labelled(found: "Labelling", model: str) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = [
        {"text": text, "label": said, "probability": 1.0, "by": PERSON}
        for text, said in found.answered.items()
    ]
    lines += [
        {"text": g.text, "label": g.label, "probability": round(g.probability, 6), "by": model}
        for g in found.sure
    ]
    return lines


def _write_answers(said: Mapping[str, str], checked: Collection[str], file: Any) -> None:
    """All that a person said, also of texts that have none of the labels."""
    writer = csv.writer(file)
    writer.writerow(["text", ANSWER, "why"])
    for text, answer in said.items():
        writer.writerow([text, answer, CHECK if text in checked else UNSURE])


def _write_questions(found: "Labelling", file: Any) -> None:
    writer = csv.writer(file)
    writer.writerow(["text", ANSWER, "guess", "probability", "second", "doubt", "why"])
    for why, guesses in ((UNSURE, found.asked), (CHECK, found.checks)):
        for g in guesses:
            shown = f"{g.probability:.4f}", g.second, f"{g.doubt:.4f}"
            writer.writerow([g.text, "", g.label, *shown, why])


def _content(found: "Labelling", output: Path) -> dict[str, Any]:
    agreed = found.agreed
    return {
        "output": str(output),
        "labelled": len(found.sure),
        "answered": len(found.answered),
        "skipped": len(found.skipped),
        "asked": len(found.asked),
        "checks": len(found.checks),
        "left": len(found.left),
        "agreement": None
        if agreed is None
        else {
            "checked": agreed.checked,
            "right": agreed.right,
            "low": agreed.low,
            "high": agreed.high,
        },
    }


def _told(found: "Labelling", output: Path) -> str:
    lines = [
        say(
            f"{len(found.sure)} texts labelled by the model, {len(found.answered)} by a person: "
            f"{output / LABELLED}",
            f"模型标注 {len(found.sure)} 条，人工标注 {len(found.answered)} 条："
            f"{output / LABELLED}",
        ),
        say(
            f"{len(found.asked) + len(found.checks)} questions: {output / QUESTIONS}",
            f"{len(found.asked) + len(found.checks)} 个问题：{output / QUESTIONS}",
        ),
        say(
            f"{len(found.left)} texts left for another time.",
            f"其余 {len(found.left)} 条留待下次。",
        ),
    ]
    if (agreed := found.agreed) is not None:
        share = f"{agreed.right} / {agreed.checked}"
        lines.append(
            say(
                f"Where it is sure, {share} checks agree with it (95 % interval "
                f"{agreed.low:.1%} to {agreed.high:.1%}).",
                f"在有把握之处，{share} 条抽查与之一致（95% 区间 "
                f"{agreed.low:.1%} 至 {agreed.high:.1%}）。",
            )
        )
    return "\n".join(lines)
