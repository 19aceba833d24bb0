"""How a text is put before a model that writes another: the text around it, the same in training
and in use.

"translate English to German: {source}" for an encoder-decoder (T5's prefixes, Raffel et al. 2020);
"{source}\\n=> {target}" for a decoder, which goes on where the template says.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hanlin.data.framing import Frame
from hanlin.errors import ConfigError
from hanlin.tokenizers import Tokenizer

SOURCE, TARGET = "{source}", "{target}"


@dataclass(frozen=True)
class Template:
    """A text with {source} in it, and {target} at its end where a decoder is to go on.

    Raises `ConfigError` where it is not so.
    """

    text: str = SOURCE

    def __post_init__(self) -> None:
        if self.text.count(SOURCE) != 1:
            raise ConfigError(
                f"The template {self.text!r} must have {SOURCE} in one place. Write it like "
                '"translate English to German: {source}".'
            )
        if self.text.count(TARGET) > 1 or (TARGET in self.text and not self.goes_on):
            raise ConfigError(
                f"The template {self.text!r} must end with {TARGET}, or not have it. Write it like "
                '"{source}\\n=> {target}".'
            )

    @property
    def goes_on(self) -> bool:
        """Whether the target follows in the same sequence: a decoder's template."""
        return self.text.endswith(TARGET)

    @property
    def lead(self) -> str:
        """What is put before a target: spaces belong to the word behind them, as tokens have it."""
        before = self.text.removesuffix(TARGET)
        return before[len(before.rstrip(" ")) :] if self.goes_on else ""

    def filled(self, source: str) -> str:
        """What the model reads for `source`."""
        before = self.text.removesuffix(TARGET)
        return before[: len(before) - len(self.lead)].replace(SOURCE, source)

    def read(self, sources: Sequence[str], tokenizer: Tokenizer) -> list[list[int]]:
        """The ids that the model reads for each source, special tokens around them."""
        before, behind = self._around(tokenizer)
        filled = tokenizer.encode_batch(map(self.filled, sources), add_special_tokens=False)
        return [[*before, *ids, *behind] for ids in filled]

    def cut(self, source: str, tokenizer: Tokenizer, *, length: int) -> list[int]:
        """As `read` for one source of which no more than `length` ids are left: it loses its end.

        What stands behind it in the template, and the special tokens, stay.
        """
        before, behind = self._around(tokenizer)
        ids, offsets = tokenizer.encode_offsets(self.filled(source), add_special_tokens=False)
        end = self.text.index(SOURCE) + len(source)
        tail = sum(1 for start, stop in offsets if start >= end and stop > start)
        over = max(0, len(before) + len(ids) + len(behind) - length)
        kept = ids[: max(0, len(ids) - tail - over)] + ids[len(ids) - tail :]
        return [*before, *kept, *behind]

    def _around(self, tokenizer: Tokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
        frame = Frame.of(tokenizer)
        return frame.before, () if self.goes_on else frame.after
