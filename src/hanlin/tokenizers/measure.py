"""How well a tokenizer serves given texts: bytes per token, exactness and speed."""

import itertools
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hanlin.errors import InputError
from hanlin.text.scripts import language, script
from hanlin.tokenizers.tokenizer import Tokenizer

_BATCH = 256  # texts encoded at once; bounds memory


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What `measure` found."""

    texts: int
    """How many texts were measured; empty ones are left out."""
    bytes: int
    """Their length in bytes of UTF-8."""
    characters: int
    tokens: int
    bytes_per_token: float
    """Higher is shorter sequences; the tokens a text costs are its bytes divided by this."""
    tokens_per_character: float
    by_language: dict[str, float]
    """Bytes per token of the texts in "en", "zh", "code" and "other"."""
    by_script: dict[str, float]
    """Bytes per token of each Unicode script; a token counts for the scripts of its characters."""
    exact: float
    """Share of texts that decoding gives back as they were, from 0 to 1."""
    first_failure: tuple[str, str] | None
    """The first text that came back changed, and what it became, from the first difference on."""
    unknown: float
    """Share of tokens that are the unknown token."""
    megabytes_per_second: float
    """Encoding speed, in millions of bytes per second, with the cores the process may use."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields for JSON; `round_trip` is the share of exact texts."""
        return {
            "texts": self.texts,
            "bytes": self.bytes,
            "tokens": self.tokens,
            "bytes_per_token": round(self.bytes_per_token, 4),
            "tokens_per_character": round(self.tokens_per_character, 4),
            "by_language": {name: round(x, 4) for name, x in self.by_language.items()},
            "by_script": {name: round(x, 4) for name, x in self.by_script.items()},
            "round_trip": round(self.exact, 6),
            "first_failure": list(self.first_failure) if self.first_failure else None,
            "unknown": round(self.unknown, 6),
            "megabytes_per_second": round(self.megabytes_per_second, 3),
        }


def measure(tokenizer: Tokenizer, texts: Iterable[str]) -> Measurement:
    """Encode and decode each text without special tokens and say how that went.

    Lower-cased and normalised vocabularies are not exact by design; `exact` shows how often that
    shows. Raises `InputError` where there is no text.
    """
    count = characters = tokens = unknown = exact = 0
    seconds = 0.0
    first_failure: tuple[str, str] | None = None
    by_language: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    by_script: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    iterator = (text for text in texts if text)
    while batch := list(itertools.islice(iterator, _BATCH)):
        begin = time.perf_counter()
        encoded = tokenizer.encode_batch(batch, add_special_tokens=False)
        seconds += time.perf_counter() - begin
        for text, ids in zip(batch, encoded, strict=True):
            size = len(text.encode())
            count += 1
            characters += len(text)
            tokens += len(ids)
            unknown += ids.count(tokenizer.unk_id) if tokenizer.unk_id is not None else 0
            _add(by_language, language(text), size, len(ids))
            _add_scripts(by_script, tokenizer, text)
            back = tokenizer.decode(ids)
            exact += back == text
            if back != text and first_failure is None:
                first_failure = _difference(text, back)
    if count == 0:
        raise InputError("There is no text to measure. Give files that are not empty.")
    size = int(sum(bytes_ for bytes_, _ in by_language.values()))
    return Measurement(
        texts=count,
        bytes=size,
        characters=characters,
        tokens=tokens,
        bytes_per_token=size / max(tokens, 1),
        tokens_per_character=tokens / characters,
        by_language=_ratios(by_language),
        by_script=_ratios(by_script),
        exact=exact / count,
        first_failure=first_failure,
        unknown=unknown / max(tokens, 1),
        megabytes_per_second=size / 1e6 / max(seconds, 1e-9),
    )


def _add(table: defaultdict[str, list[float]], name: str, size: float, tokens: float) -> None:
    row = table[name]
    row[0] += size
    row[1] += tokens


def _add_scripts(table: defaultdict[str, list[float]], tokenizer: Tokenizer, text: str) -> None:
    """Share each token out among the scripts of the characters it covers, by their bytes.

    A space belongs to the token it stands in, and to no script.
    """
    for character in text:
        name = script(character)
        if name != "space":
            table[name][0] += len(character.encode())
    _, offsets = tokenizer.encode_offsets(text, add_special_tokens=False)
    # Pieces of one character share its offsets, so each character's tokens are counted whole.
    for start, end in offsets:
        weights: dict[str, int] = {}
        for character in text[start:end]:
            name = script(character)
            if name != "space":
                weights[name] = weights.get(name, 0) + len(character.encode())
        total = sum(weights.values())
        for name, weight in weights.items():
            table[name][1] += weight / total


def _ratios(table: defaultdict[str, list[float]]) -> dict[str, float]:
    largest = sorted(table.items(), key=lambda row: (-row[1][0], row[0]))
    return {name: size / tokens for name, (size, tokens) in largest if tokens}


def _difference(text: str, back: str) -> tuple[str, str]:
    at = next((n for n, (a, b) in enumerate(zip(text, back, strict=False)) if a != b), None)
    start = max(0, (min(len(text), len(back)) if at is None else at) - 10)
    return text[start : start + 60], back[start : start + 60]
