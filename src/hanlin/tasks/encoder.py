"""Encoders: texts to vectors, as sentence-transformers computes them."""

from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from hanlin.models.pooling import Pooling
from hanlin.models.transformer import Transformer
from hanlin.tasks.batches import batches, tail_length, truncated
from hanlin.tasks.model import Model, texts_of
from hanlin.tokenizers import Tokenizer


class Encoder(Model):
    """Turns texts into vectors: `embed`."""

    kind = "an encoder"
    can: ClassVar[tuple[str, ...]] = ("embed",)
    batch_tokens = 4096
    """Tokens read at a time, padding counted; changes no result beyond rounding."""

    def __init__(
        self, network: Transformer, tokenizer: Tokenizer, *, name: str, pooling: Pooling
    ) -> None:
        super().__init__(network, tokenizer, name=name)
        self.pooling = pooling
        self._tail = tail_length(tokenizer)

    def embed(
        self, texts: str | Sequence[str], *, progress: Callable[[int], None] | None = None
    ) -> NDArray[np.float32]:
        """The vectors of texts, float32 [texts, D]; [1, D] for one text.

        Pooled, and scaled to length 1 or not, as the directory's sentence-transformers files say;
        without such files the mean of the last hidden states, not scaled. Longer texts are cut
        after the model's longest input, as sentence-transformers cuts them. A text's vector does
        not depend on the others beyond rounding (1e-6). progress: called with the number of texts
        done. Raises `InputError` for what is not text.
        """
        texts = texts_of(texts)
        sequences = [self._ids(text) for text in texts]
        pad = self.network.config.pad_id or self.tokenizer.pad_id or 0
        width = self.network.config.hidden_size * len(self.pooling.modes)
        vectors = np.zeros((len(texts), width), dtype=np.float32)
        with torch.inference_mode():
            for batch in batches(sequences, pad=pad, max_tokens=self.batch_tokens):
                states = self.network(batch.ids, batch.mask).hidden.float()
                mask = batch.mask
                if mask is None:
                    mask = torch.ones_like(batch.ids, dtype=torch.bool)
                vectors[batch.order] = self.pooling(states, mask).numpy()
                if progress is not None:
                    progress(len(batch.order))
        return vectors

    def _ids(self, text: str) -> list[int]:
        text = self.pooling.prompt + text
        ids = self.tokenizer.encode(text.lower() if self.pooling.lower else text)
        return truncated(ids, length=self.longest, tail=self._tail) or [self.tokenizer.pad_id or 0]

    @property
    def longest(self) -> int:
        """Tokens after which a text is cut."""
        limits = (self.pooling.max_length, self.tokenizer.max_length)
        return self.network.config.reads(*limits) or 512
