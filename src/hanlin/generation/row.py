"""One sequence while it is generated: what it has, what it may still become, why it ended."""

from collections.abc import Collection, Sequence

from torch import Tensor

from hanlin.generation.controls import Controls, Progress
from hanlin.generation.results import FinishReason, Generation, TokenLogprob
from hanlin.generation.sampling import draw, likeliest, uniform
from hanlin.generation.settings import Sampling
from hanlin.generation.stopping import TextStream
from hanlin.generation.vocabulary import Vocabulary


class Row:
    """A sequence of a `Batch`."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        controls: Controls,
        sampling: Sampling,
        *,
        history: list[int],
        limit: int,
        ends: Collection[int],
        prompt_tokens: int,
        before: Sequence[int],
        seed: int | None,
        index: int,
    ) -> None:
        self.vocabulary = vocabulary
        self.controls = controls
        self.sampling = sampling
        self.history = history
        self.limit = limit
        self.ends = ends
        self.prompt_tokens = prompt_tokens
        self.before = before
        self.seed = seed
        self.index = index
        self.tokens: list[int] = []
        self.logprobs: list[TokenLogprob] | None = None if sampling.logprobs is None else []
        self.finish_reason: FinishReason | None = None
        self.stopped_by: str | int | None = None
        self._progress = Progress(history, len(history), limit)
        self._text: TextStream | None = None
        self._pieces: list[str] = []
        self._ended_by_token = False
        if sampling.stop:
            self.open_text()

    def choose(self, logits_V: Tensor) -> int:
        """Choose and append the next token, given the model's logits."""
        scores = self.controls.judge(logits_V.float(), self._progress)
        if self.seed is None:
            token = int(likeliest(scores.unsqueeze(0)))
        else:
            scores, ids = self.controls.shape(scores)
            place = draw(scores, uniform(self.seed, self.index, len(self.tokens)))
            token = place if ids is None else int(ids[place])
        if self.logprobs is not None:
            assert self.sampling.logprobs is not None
            top, own = self.sampling.logprobs, logits_V.float().log_softmax(-1)
            self.logprobs.append(token_logprob(self.vocabulary, own, token, top=top))
        self.append(token)
        return token

    def append(self, token: int) -> None:
        """Take a token, and see whether the sequence ends with it."""
        self.tokens.append(token)
        self.history.append(token)
        if token in self.ends:
            self.finish_reason, self.stopped_by = "stop", token
            self._ended_by_token = True
        else:
            if self._text is not None:
                self._push(token)
            if self.finish_reason is None and len(self.tokens) >= self.limit:
                self.finish_reason = "length"

    def _push(self, token: int) -> None:
        assert self._text is not None
        search = len(self.tokens) >= self.sampling.min_new_tokens
        self._pieces.append(self._text.push(token, search=search))
        if self._text.found is not None:
            self.finish_reason, self.stopped_by = "stop", self._text.found

    def open_text(self) -> None:
        """Turn tokens into text as they come (stop strings, streaming)."""
        if self._text is None:
            self._text = TextStream(self.vocabulary, self.sampling.stop, self.before)

    def take_text(self) -> str:
        """The text that has become certain since the last call."""
        text, self._pieces = "".join(self._pieces), []
        return text

    def close_text(self) -> None:
        """Let go of text that was held back; the sequence has ended."""
        text = self._text
        if text is None:
            text = TextStream(self.vocabulary, (), self.before)
            visible = self.tokens[:-1] if self._ended_by_token else self.tokens
            self._pieces += [text.push(token) for token in visible]
        self._pieces.append(text.finish())
        if text.found is not None and self.stopped_by is None:
            self.finish_reason, self.stopped_by = "stop", text.found

    def result(self) -> Generation:
        """The finished sequence."""
        assert self.finish_reason is not None
        self.close_text()
        return Generation(
            self.take_text(),
            tuple(self.tokens),
            self.finish_reason,
            None if self.logprobs is None else tuple(self.logprobs),
            prompt_tokens=self.prompt_tokens,
            seed=self.seed,
            stopped_by=self.stopped_by,
        )


def token_logprob(
    vocabulary: Vocabulary, logprobs_V: Tensor, token: int, *, top: int
) -> TokenLogprob:
    """A token's entry among the model's own log probabilities, with the `top` likeliest tokens."""

    def entry(token: int, logprob: float, top: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
        data = vocabulary.token_bytes(token)
        return TokenLogprob(data.decode("utf-8", "replace"), token, logprob, data, top)

    others: tuple[TokenLogprob, ...] = ()
    if top:
        best = logprobs_V.topk(min(top, len(logprobs_V)))
        others = tuple(map(entry, best.indices.tolist(), best.values.tolist()))
    return entry(token, float(logprobs_V[token]), others)
