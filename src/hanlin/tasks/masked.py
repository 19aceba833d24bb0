"""Masked language models: guess what is hidden, and say how likely a text is."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from hanlin.errors import ConfigError, InputError
from hanlin.tasks.batches import fitting
from hanlin.tasks.encoder import Encoder
from hanlin.tasks.model import texts_of
from hanlin.tasks.scoring import Cloze, Likelihood, guesses


@dataclass(frozen=True)
class Candidate:
    """One guess for a hidden token."""

    token: str
    """As it reads, without spaces around it."""
    score: float
    """Its probability."""
    text: str
    """The text with the guess in place."""


class MaskedLanguageModel(Encoder):
    """Guesses hidden words (`fill`), scores texts (`score`), and gives vectors (`embed`)."""

    kind = "a masked language model"
    can = ("fill", "score", "embed")
    batch_tokens = 1024  # each token also costs a row of logits over the vocabulary

    def fill(self, text: str, *, top_k: int = 5) -> list[list[Candidate]]:
        """The `top_k` best guesses, best first, for each mask token (BERT's ``[MASK]``) in `text`.

        Of several masks each is guessed while the others stay hidden. Raises `InputError` where
        there is no mask or the text is too long.
        """
        texts_of([text])
        if not isinstance(top_k, int) or not 1 <= top_k <= self.network.config.vocab_size:
            raise ConfigError(
                f"top_k is {top_k!r}; it must be from 1 to {self.network.config.vocab_size}."
            )
        mask = self.mask_id
        ids = fitting(self.tokenizer.encode(text), length=self.longest_text, what="text")
        places = [place for place, token in enumerate(ids) if token == mask]
        spelt = self.tokenizer.token(mask)
        if not places or len(places) != text.count(spelt):
            raise InputError(
                f"The text has no {spelt} to fill. Put {spelt} where a word is missing."
            )
        with torch.inference_mode():
            output = self.network(torch.tensor([ids]))
        probabilities = output.logits[0, places].float().softmax(-1)
        best = probabilities.topk(top_k)
        return [
            [
                self._candidate(text, spelt, number, token, score)
                for token, score in zip(tokens, scores, strict=True)
            ]
            for number, (tokens, scores) in enumerate(
                zip(best.indices.tolist(), best.values.tolist(), strict=True)
            )
        ]

    def score(self, text: str) -> Likelihood:
        """The pseudo log likelihood (Salazar et al. 2020): each token guessed from all the others.

        Special tokens are not scored. Raises `InputError` for a text that is empty or too long.
        """
        texts_of([text])
        mask = self.mask_id
        ids = fitting(self.tokenizer.encode(text), length=self.longest_text, what="text")
        _, offsets = self.tokenizer.encode_offsets(text)
        places = [place for place, (start, end) in enumerate(offsets) if end > start]
        if not places:
            raise InputError("The text has no tokens to score. Give it some words.")
        hidden = [
            Cloze([*ids[:place], mask, *ids[place + 1 :]], (place,), (ids[place],))
            for place in places
        ]
        scored = guesses(self.network, hidden, batch_tokens=self.batch_tokens)
        logprobs = tuple(float(one.logprobs[0]) for one in scored)
        greedy = all(bool(one.greedy[0]) for one in scored)
        tokens = tuple(ids[place] for place in places)
        return Likelihood(sum(logprobs), tokens, logprobs, greedy, len(text.encode()))

    def _candidate(self, text: str, spelt: str, number: int, token: int, score: float) -> Candidate:
        word = self.tokenizer.token_bytes(token).decode(errors="replace")
        parts: Sequence[str] = text.split(spelt)
        before, after = spelt.join(parts[: number + 1]), spelt.join(parts[number + 1 :])
        joined = before.rstrip(" ") if word[:1] != " " and self._continues(token) else before
        filled = joined + word.lstrip(" ") + after
        return Candidate(word.strip(), score, filled)

    def _continues(self, token: int) -> bool:
        """Whether the token goes on a word (WordPiece's ``##``)."""
        return self.tokenizer.token(token).startswith("##")

    @property
    def mask_id(self) -> int:
        """The mask token. Raises `InputError` where the tokenizer has none."""
        if self.tokenizer.mask_id is None:
            raise InputError(f"The tokenizer of {self.name} has no mask token. Use another model.")
        return self.tokenizer.mask_id

    @property
    def longest_text(self) -> int | None:
        """Tokens a text may have, special ones counted; None where there is no limit."""
        return self.network.config.reads()
