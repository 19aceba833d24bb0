"""Masked language models on texts: the pseudo log likelihood (Salazar et al. 2020).

Each token is hidden alone and guessed from all the others around it. That is no probability of the
text, since no token is ever guessed without its neighbours, and is lower than any decoder's figure;
it compares masked models with the same tokenizer.
"""

from collections.abc import Callable, Sequence

import numpy as np

from hanlin.errors import ConfigError
from hanlin.evaluation.decoders import lead_tokens
from hanlin.evaluation.scores import TextScore, byte_ends
from hanlin.tasks.batches import tail_length
from hanlin.tasks.masked import MaskedLanguageModel
from hanlin.tasks.scoring import Cloze, Scored, Window, guesses

CONTEXT = 512
"""Tokens of a window where the model reads more."""


def centred(length: int, width: int, stride: int) -> list[tuple[Window, int]]:
    """Windows of at most `width` ids over [0, length): what is read, and where scoring stops.

    Each id is scored once, [first, stop), in the window that has it nearest the middle: at least
    (width - stride) // 2 ids stand on both sides of it, but for the ends of the text.
    """
    if length <= width:
        return [(Window(0, 0, length), length)]
    margin = (width - stride) // 2
    found, first = [], 0
    while first < length:
        begin = max(0, min(first - margin, length - width))
        stop = length if begin + width >= length else begin + width - margin
        found.append((Window(begin, first, begin + width), stop))
        first = stop
    return found


def pseudo_scores(
    lm: MaskedLanguageModel,
    texts: Sequence[str],
    *,
    context: int | None = None,
    stride: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> tuple[list[TextScore], dict[str, object]]:
    """Score every token of every text, and say how; `progress` is called with bytes done."""
    longest = lm.network.config.max_context if lm.longest_text else CONTEXT
    context = min(longest, CONTEXT) if context is None else context
    if context > longest:
        raise ConfigError(f"The context is {context}, but {lm.name} reads at most {longest}.")
    before = list(lead_tokens(lm.tokenizer))
    whole, tail = lm.tokenizer.encode("a"), tail_length(lm.tokenizer)
    after = whole[len(whole) - tail :]
    width = context - len(before) - len(after)
    stride = max(1, width // 2) if stride is None else stride
    if not 1 <= stride <= width:
        raise ConfigError(
            f"The stride is {stride}; with a context of {context} it must be from 1 to {width}."
        )
    scores = []
    for text in texts:
        ids, offsets = lm.tokenizer.encode_offsets(text, add_special_tokens=False)
        ends = byte_ends(text, [end for _, end in offsets])
        parts: list[Scored] = []
        for window, stop in centred(len(ids), width, stride) if ids else ():
            part = ids[window.begin : window.end]
            clozes = [
                Cloze(
                    [*before, *part[:place], lm.mask_id, *part[place + 1 :], *after],
                    (len(before) + place,),
                    (part[place],),
                )
                for place in range(window.first - window.begin, stop - window.begin)
            ]
            parts += guesses(lm.network, clozes, batch_tokens=lm.batch_tokens)
            if progress is not None and window.first < stop:
                done = int(ends[window.first - 1]) if window.first else 0
                progress(int(ends[stop - 1]) - done)
        nats = [-part.logprobs for part in parts] or [np.zeros(0)]
        right = [part.greedy for part in parts] or [np.zeros(0, dtype=np.bool_)]
        scores.append(TextScore(np.concatenate(nats), ends, 0, np.concatenate(right)))
    about: dict[str, object] = {"pll": "Salazar2020", "context": context, "stride": stride}
    return scores, about
