"""An exponential moving average of the weights, which is evaluated and becomes the model.

Averaged weights do what a falling learning rate does, without waiting for its end (Polyak and
Juditsky 1992; Morales-Brotons et al. 2024), and translators are averaged since Vaswani et al. 2017.
The decay rises to its value, as min(decay, (1 + t) / (10 + t)) at step t, so that the first weights
are soon forgotten. The average is kept in the optimiser's state: checkpoints, processes and shards
treat it as they treat a moment of Adam's.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from hanlin.training.optimizers import AVERAGE, Optimizer


class Average:
    """The average of everything that an optimiser steps."""

    def __init__(self, optimizer: Optimizer, *, decay: float) -> None:
        self._optimizer = optimizer
        self.decay = decay

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights as they are after `step` (from 0) of the optimiser."""
        state = self._optimizer.state
        kept, weights = [], []
        for group in self._optimizer.param_groups:
            for parameter in group["params"]:
                if AVERAGE in state[parameter]:
                    kept.append(state[parameter][AVERAGE])
                    weights.append(parameter)
                else:
                    state[parameter][AVERAGE] = parameter.detach().clone()
        if kept:
            torch._foreach_lerp_(kept, weights, 1 - min(self.decay, (1 + step) / (10 + step)))

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model has the averaged weights within, and its own again behind it, bit for bit."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def keep(self) -> None:
        """Give the model the averaged weights for good; training does not go on after this."""
        for parameter, average in self._pairs():
            parameter.copy_(average)

    @torch.no_grad()
    def _exchange(self) -> None:
        for parameter, average in self._pairs():
            own = parameter.detach().clone()
            parameter.copy_(average)
            average.copy_(own)

    def _pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        for group in self._optimizer.param_groups:
            for parameter in group["params"]:
                if AVERAGE in self._optimizer.state[parameter]:
                    yield parameter, self._optimizer.state[parameter][AVERAGE]
