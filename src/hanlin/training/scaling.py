"""The loss to expect of a decoder, in bits per byte, as a range: laws found on larger runs.

Kaplan et al. 2020, equation 1.5, gives nats per token of English web text for N parameters outside
the embeddings and D tokens; their tokens stand for 4.2 bytes each. Text that is read several times
counts for less each time (Muennighoff et al. 2023). Other text than theirs is easier or harder: the
size xz gives to the first megabyte says by how much, against 2.4 bits per byte for such a piece of
English prose. The range is wide because such small runs lie outside of what the laws were fitted
on: nanoGPT's two published runs on tiny Shakespeare (0.8 million parameters for 2 minutes of a CPU,
10.6 million for 3 minutes of a GPU) end at 1.21 and 1.18 times the law, its GPT-2 at 0.99 times.
"""

import lzma
import math

BYTES_PER_TOKEN = 4.19
"""Of Kaplan et al.'s tokens: 96 GB of text are 22.9 billion."""
_ENGLISH = 2.4
_LOW, _HIGH = 0.9, 1.35
_PATIENCE = 15.39  # Muennighoff et al.: repetitions after which another one is worth 1/e
SAMPLE = 1_000_000


def difficulty(sample: bytes) -> float:
    """How hard a text is to predict, beside English prose: the ratio of what xz leaves of both.

    sample: up to the first `SAMPLE` bytes; 1.0 for less than 10 kB, which say too little.
    """
    if len(sample) < 10_000:
        return 1.0
    sample = sample[:SAMPLE]
    left = 8 * len(lzma.compress(sample, preset=6)) / len(sample)
    # xz learns from what it has read: it leaves more of a short sample.
    return left / (_ENGLISH * float((SAMPLE / len(sample)) ** 0.06))


def expected_loss(
    *, parameters: int, read_bytes: float, unique_bytes: float, difficulty: float = 1.0
) -> tuple[float, float]:
    """Lowest and highest bits per byte to expect on held-out text of the same kind.

    parameters: outside of embeddings and head. read_bytes: text read in the whole run, repetitions
    counted; unique_bytes: text there is.
    """
    unique = min(read_bytes, unique_bytes) / BYTES_PER_TOKEN
    again = max(0.0, read_bytes / max(unique_bytes, 1.0) - 1.0)
    worth = unique * (1 + _PATIENCE * (1 - math.exp(-again / _PATIENCE)))
    nats = ((8.8e13 / parameters) ** (0.076 / 0.095) + 5.4e13 / max(worth, 1.0)) ** 0.095
    bits = nats / math.log(2) / BYTES_PER_TOKEN * difficulty
    return min(_LOW * bits, 8.0), min(_HIGH * bits, 8.0)
