"""``hanlin generate``: continue a text, streamed where one sequence is asked for, or fill in what
belongs before another."""

import sys
import time
from typing import TYPE_CHECKING, Any

import click

from hanlin.cli import options
from hanlin.cli.kinds import expect
from hanlin.cli.language import say
from hanlin.cli.output import check_text, emit, note, read_stdin
from hanlin.errors import ConfigError

if TYPE_CHECKING:
    from hanlin.generation import Generation
    from hanlin.tasks.coding import Mode


@click.command(
    help=say(
        "Continue PROMPT with MODEL; `-` reads the prompt from standard input.",
        "用 MODEL 续写 PROMPT；`-` 表示从标准输入读取。",
    )
)
@click.argument("model")
@click.argument("prompt")
@click.option(
    "--suffix",
    metavar="TEXT",
    help=say(
        "Fill in what belongs between PROMPT and this text, by a model that learnt to.",
        "补出 PROMPT 与此文本之间的内容；模型须学过填空。",
    ),
)
@click.option(
    "--mode",
    type=click.Choice(["psm", "spm"]),
    help=say(
        "With --suffix: read PROMPT first (psm) or the suffix (spm) [default: psm].",
        "与 --suffix 同用：先读 PROMPT（psm）或后文（spm）[默认：psm]。",
    ),
)
@options.sampling
@options.several
@options.dtype
@options.as_json
def command(
    model: str,
    prompt: str,
    suffix: str | None,
    mode: "Mode | None",
    dtype: str,
    as_json: bool,
    **settings: Any,
) -> None:
    """Generate and print."""
    prompt = read_stdin() if prompt == "-" else check_text(prompt, name="PROMPT")
    if suffix is not None:
        check_text(suffix, name="--suffix")
    elif mode is not None:
        raise ConfigError("--mode is for --suffix, which is not given. Leave it out.")
    wanted = options.given(settings)

    from hanlin.tasks import LanguageModel, load

    lm = expect(
        load(model, dtype=dtype), LanguageModel, verb="generate", instead="`hanlin predict`"
    )
    sampling = lm.settings(**wanted)
    options.note_unused_seed(wanted, sampling)
    start = time.perf_counter()
    if suffix is not None or as_json or sampling.n > 1 or sampling.beams > 1:
        results = (
            lm.generate(prompt, **wanted)
            if suffix is None
            else lm.infill(prompt, suffix, mode=mode or "psm", **wanted)
        )
        texts = [result.text for result in results]
        if len(texts) > 1:
            texts = [f"[{number}] {text}" for number, text in enumerate(texts, 1)]
        emit(as_object(results), as_json=as_json, text="\n".join(texts))
        tokens = sum(len(result.tokens) for result in results)
    else:
        tokens = 0
        for piece in lm.stream(prompt, **wanted):
            print(piece.text, end="", flush=True)
            tokens += len(piece.tokens)
        print(flush=True)
    if sys.stderr.isatty():
        seconds = time.perf_counter() - start
        note(speed(tokens, seconds))


def as_object(results: "list[Generation]") -> dict[str, Any]:
    """Return generations as the JSON that `generate` and `chat` print."""
    return {
        "outputs": [
            {
                "text": result.text,
                "tokens": list(result.tokens),
                "finish_reason": result.finish_reason,
            }
            for result in results
        ],
        "usage": {
            "prompt_tokens": results[0].prompt_tokens,
            "completion_tokens": sum(len(result.tokens) for result in results),
        },
        "seed": results[0].seed,
    }


def speed(tokens: int, seconds: float) -> str:
    """Return how many tokens came in how many seconds."""
    return say(
        f"{tokens} tokens in {seconds:.1f} s: {tokens / seconds:.0f} tokens/s",
        f"{seconds:.1f} 秒生成 {tokens} 个词元：每秒 {tokens / seconds:.0f} 个",
    )
