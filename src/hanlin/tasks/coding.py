"""Fill in the middle: what belongs between the text before a gap and the text after it.

For models that were trained on texts with their middle last (see `data.middle`), as models of code
are. The middle ends at an end token, or where the model would begin another file.
"""

from typing import TYPE_CHECKING, Any, Literal

from hanlin.data.middle import Marks
from hanlin.errors import ConfigError, InputError
from hanlin.generation import Generation, Sampling, generate

if TYPE_CHECKING:
    from hanlin.tasks.language import LanguageModel

Mode = Literal["psm", "spm"]
"""Prefix, suffix, middle; or suffix first, and the middle goes on from the prefix."""

_ENDS = (
    "<|endoftext|>", "<|fim_pad|>", "<fim_pad>", "<|file_sep|>", "<file_sep>", "<|repo_name|>",
    "<repo_name>", "▁<EOT>", "<EOT>", "<｜end▁of▁sentence｜>",
)  # fmt: skip
"""What ends a middle beside the model's own end tokens, where the tokenizer has it."""


def infill(
    lm: "LanguageModel",
    prefix: str,
    suffix: str,
    *,
    mode: Mode = "psm",
    n: int = 1,
    **sampling: Any,
) -> list[Generation]:
    """What may stand between `prefix` and `suffix`: n of them, by the settings of `generate`.

    mode: psm reads the prefix first, spm the suffix. Raises `InputError` where the tokenizer has no
    marks for it or the texts are too long, `ConfigError` for a setting.
    """
    if not prefix and not suffix:
        raise InputError("There is neither a prefix nor a suffix. Give one of them.")
    if n != 1:
        sampling["n"] = n
    ids = prompt_for_middle(lm, prefix, suffix, mode=mode)
    [sequences] = generate(lm.network, lm.tokenizer, [ids], ending_middle(lm, **sampling))
    return sequences


def prompt_for_middle(
    lm: "LanguageModel",
    prefix: str,
    suffix: str,
    *,
    mode: Mode = "psm",
    room: int | None = None,
) -> list[int]:
    """The ids that a middle comes after. Of texts that take more than `room` tokens together, the
    suffix keeps its beginning and the prefix its end, each half of them or what the other leaves.
    Raises as `infill` does."""
    if mode not in ("psm", "spm"):
        raise ConfigError(f"mode is {mode!r}; it must be psm or spm.")
    if lm.network.config.shape != "decoder":
        raise InputError(
            f"{lm.name} is an {lm.network.config.shape}, which is not asked for a middle so. Use a "
            "decoder of code."
        )
    tokenizer = lm.tokenizer
    marks = Marks.of(tokenizer)
    before, after = (tokenizer.encode(text, add_special_tokens=False) for text in (prefix, suffix))
    begun = tokenizer.encode("")[:1]
    begun = begun if begun == [tokenizer.bos_id] else []
    if room is not None:
        left = max(0, room - len(begun) - len(marks.psm([], [])))
        after = after[: max(left // 2, left - len(before))]
        before = before[max(0, len(before) + len(after) - left) :]
    return [*begun, *(marks.psm if mode == "psm" else marks.spm)(before, after)]


def ending_middle(lm: "LanguageModel", **sampling: Any) -> Sampling:
    """The settings of `generate` by which a middle ends where it should."""
    tokenizer, marks = lm.tokenizer, Marks.of(lm.tokenizer)
    ends = {token_id for token in _ENDS if (token_id := tokenizer.id(token)) is not None}
    stops = {*ends, marks.prefix, marks.suffix, marks.middle, *sampling.pop("stop_ids", ())}
    return lm.settings(**sampling, stop_ids=tuple(sorted(stops)))
