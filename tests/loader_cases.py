"""Examples that are their own index and epoch, and what a loader made of them."""

from collections.abc import Sequence

import torch

from hanlin.data.batch import Batch
from hanlin.data.examples import Ids


class Numbers:
    """Examples that are their own index and epoch."""

    notes = ()

    def __init__(self, size: int, lengths: Ids | None = None) -> None:
        self.size = size
        self.lengths = lengths

    def __len__(self) -> int:
        return self.size

    def example(self, index: int, epoch: int) -> tuple[int, int]:
        return index, epoch


def collate(examples: Sequence[tuple[int, int]]) -> Batch:
    ids = torch.tensor(examples, dtype=torch.int64).reshape(-1, 2)
    return Batch(ids=ids, targets=ids, target_tokens=len(examples))


def rows(batches: Sequence[Batch]) -> list[tuple[int, int]]:
    return [(int(i), int(e)) for batch in batches for i, e in batch.ids]
