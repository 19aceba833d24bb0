"""Ids to text as they come, up to the first stop string, wherever token borders fall.

Of several stop strings the one that is complete first counts, so the result does not depend on how
the text was cut into tokens.
"""

from collections.abc import Sequence

from hanlin.generation.vocabulary import Vocabulary


class StopFinder:
    """Text in, text out, without the first stop string and anything after it."""

    def __init__(self, stops: Sequence[str]) -> None:
        self.stops = tuple(stops)
        self.found: str | None = None
        self._held = ""

    def push(self, text: str) -> str:
        """Return the text that can no longer be part of a stop string."""
        text = self._held + text
        best: tuple[int, int, str] | None = None
        for stop in self.stops:
            start = text.find(stop)
            if start >= 0:
                here = (start + len(stop), start, stop)
                best = here if best is None else min(best, here)
        if best is not None:
            self._held, self.found = "", best[2]
            return text[: best[1]]
        keep = max((_overlap(text, stop) for stop in self.stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def finish(self) -> str:
        """Return what was held back."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a beginning of `stop`, and not all of it."""
    for size in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:size]):
            return size
    return 0


class TextStream:
    """Token ids in, text out: characters whole, stop strings held back and cut off."""

    def __init__(self, vocabulary: Vocabulary, stops: Sequence[str], before: Sequence[int]) -> None:
        """`before` are the ids that the text goes on from (none: it begins)."""
        self._detokeniser = vocabulary.stream()
        self._finder = StopFinder(stops)
        # A space that a vocabulary drops at the beginning of a text is kept in its middle, and a
        # character may have begun in the prompt; four ids hold the longest in UTF-8.
        for token in before[-4:]:
            self._detokeniser.push(token)

    @property
    def found(self) -> str | None:
        """The stop string that was completed."""
        return self._finder.found

    def push(self, token: int, *, search: bool = True) -> str:
        """Take one id; without `search` its text cannot end the stream (min_new_tokens)."""
        text = self._detokeniser.push(token)
        if not search:
            return self._finder.finish() + text
        return self._finder.push(text)

    def finish(self) -> str:
        """End the stream; return the rest of the text."""
        if self.found is not None:
            return ""
        text = self._finder.push(self._detokeniser.finish())
        return text if self.found is not None else text + self._finder.finish()
