"""A look at the validation part while training: the loss over its targets, each counted once."""

import math

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from hanlin.data.batch import Batch
from hanlin.data.loader import Loader
from hanlin.training.distributed import World


class Validation:
    """The validation part; every look reads the same examples in the same order."""

    def __init__(
        self, loader: Loader, *, tokens: int | None, bf16: bool, measures: tuple[str, ...] = ()
    ) -> None:
        """`tokens`: read about so many of them at most, over all processes; None for all.
        `measures`: what the objective tells beside the loss."""
        self.loader = loader
        self.tokens = tokens
        self.bf16 = bf16
        self.measures = measures

    @torch.no_grad()
    def look(self, loss: nn.Module, world: World, *, everything: bool = False) -> dict[str, float]:
        """loss (nats per target), perplexity, targets, where it has a meaning bits_per_byte, and
        the objective's own measures, per target.

        loss: the model with its objective, in eval mode. everything: whatever `tokens` says.
        """
        if isinstance(loss, DistributedDataParallel):
            loss = loss.module  # the processes may have unequal numbers of batches
        limit = math.inf if everything or self.tokens is None else self.tokens
        autocast = torch.autocast(
            world.device.type, torch.bfloat16, enabled=self.bf16 and world.kind != "fsdp"
        )
        sums = [0.0] * (1 + len(self.measures))
        targets = size = read = 0.0
        batches = self.loader.once()
        last = None
        while read < limit:
            batch: Batch | None = next(batches, None)
            own = batch is not None
            tokens = batch.tokens if batch else 0
            [more, together] = world.sum([own, tokens])
            if not more:
                break
            if batch is None and world.kind == "fsdp":
                # The others gather their shards with us: read something, count nothing.
                batch = last if last is not None else self.loader.step(0)[0]
            if batch is not None:
                with autocast:
                    values = loss(batch.to(world.device), measured=True).reshape(-1).tolist()
                if own:
                    sums = [total + value for total, value in zip(sums, values, strict=True)]
                    targets += batch.target_tokens
                    size += batch.target_bytes
            last, read = batch, read + together
        targets, size, *sums = world.sum([targets, size, *sums])
        mean, *means = [total / max(targets, 1.0) for total in sums]
        found = {"loss": mean, "perplexity": math.exp(min(mean, 700.0)), "targets": targets}
        if size:
            found["bits_per_byte"] = sums[0] / math.log(2) / size
        return found | dict(zip(self.measures, means, strict=True))
