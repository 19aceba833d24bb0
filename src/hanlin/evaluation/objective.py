"""The loss a model was trained for, on another text: for models that give a text no probability.

A masked model guesses tokens that are hidden from it, a denoiser repairs damage. What is hidden or
damaged is drawn from the seed, as the training's own validation draws it, so the figure can be
compared with the one that training showed, and with no other objective's.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from hanlin.config import check, refuse
from hanlin.data.tokens import TokenArray
from hanlin.errors import ConfigError
from hanlin.metrics import Score, loss
from hanlin.metrics.bootstrap import ratio
from hanlin.metrics.units import Units
from hanlin.models.transformer import Transformer
from hanlin.tokenizers import Tokenizer
from hanlin.training.objectives import OBJECTIVES

LOSSES = {
    "masked-lm": "masked_loss",
    "span-corruption": "span_corruption_loss",
    "denoising": "denoising_loss",
}
"""Objective -> the name of its loss."""
LENGTH = 512
"""Tokens of a row, where the model reads more."""


def objective_loss(
    network: Transformer,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    *,
    objective: str,
    options: Mapping[str, Any],
    length: int,
    seed: int,
    progress: Callable[[float], None] | None = None,
) -> tuple[Score, Units]:
    """Nats per target over all rows of the texts, and nats and targets row by row.

    The interval is over rows of `length` tokens. progress: called with the share of rows done.
    Raises `ConfigError` where the objective does not go with the model or its tokenizer.
    """
    chosen, problems = check(options, into=OBJECTIVES[objective])
    refuse(problems)
    assert chosen is not None
    if network.config.shape not in chosen.shapes:
        raise ConfigError(
            f"The objective {objective} is for {' and '.join(chosen.shapes)} models; this is "
            f"a {network.config.shape}. Choose another."
        )
    examples = chosen.examples(
        TokenArray.encode(texts, tokenizer),
        tokenizer=tokenizer,
        length=length,
        seed=seed,
        validation=True,
    )
    nats, targets = np.zeros(len(examples)), np.zeros(len(examples))
    with torch.inference_mode():
        for row in range(len(examples)):
            batch = chosen.collate([examples.example(row, 0)])
            if batch.target_tokens:
                nats[row] = float(chosen.loss(network, batch.to(network.device)))
                targets[row] = batch.target_tokens
            if progress is not None:
                progress(1 / len(examples))
    about = {
        "objective": objective,
        **options,
        "tokenizer": tokenizer.hash[:8],
        "length": length,
        "drawn": f"seed={seed}",
        "over": "rows",
    }
    rows = Units(np.stack([nats, targets], axis=1), ratio, "unit:nats|over:rows")
    return loss(nats, targets, seed=seed, **about), rows
