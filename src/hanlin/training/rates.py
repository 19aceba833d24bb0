"""The learning rate of a model that is taught a task, where none is given.

A model that knows something bears less than a fresh one (`optimizers.default_lr`): 3e-5 for one of
BERT's size (Devlin et al. 2019 searched 2e-5 to 5e-5), more for a smaller one in proportion (the
trials are in docs/benchmarks.md), less for a larger one as the square root of the sizes, and about
ten times as much for a LoRA (Schulman et al. 2025, "LoRA Without Regret").
Preferences that are learnt for a thousand steps or more take a twentieth of that: TRL's defaults
are 2e-5 for tuning and 1e-6 for DPO, and Zephyr took 2e-5 and 5e-7 (Tunstall et al. 2023). AdamW
moves a weight by about the rate a step, so that fewer steps take more, all of it at fifty and
below: else nothing is learnt (the trials are in docs/benchmarks.md).
"""

from collections.abc import Callable
from dataclasses import replace

from torch import nn

from hanlin.models.transformer import Transformer
from hanlin.training.config import TrainConfig
from hanlin.training.optimizer_settings import OptimizerSettings
from hanlin.training.sections import ON_TEXT

_BERT = 85e6
"""Parameters of BERT's blocks, with which 3e-5 goes."""
_MOST = 5e-4
"""What a model bears that is taught, however small."""

_PREFER = 1 / 20
"""What a model bears of that in many steps of preferences, whose loss holds no text in place."""
_FEW = 50
"""Steps of preferences for which it bears all of it."""


def tuning_lr(network: Transformer, *, lora: bool, share: float = 1.0) -> float:
    """A highest learning rate for AdamW to teach this model a task with; share: taken of it."""
    tables = {id(m.weight) for m in network.modules() if isinstance(m, nn.Embedding)}
    blocks = sum(p.numel() for p in network.parameters() if id(p) not in tables)
    size = blocks / _BERT
    lr = min(max(3e-5 / max(size if size < 1 else size**0.5, 1e-9), 1e-5), _MOST)
    return float(f"{lr * (10 if lora else 1) * share:.2g}")


def preference_share(step: float) -> float:
    """How much of the rate suits preferences, from 1 for few steps to 1/20 for many.

    step: how much of the duration one is; 0 where that is not known.
    """
    return min(1.0, max(_PREFER, _FEW * step))


def optimizer_of(
    settings: TrainConfig, network: Transformer, *, step: float, tell: Callable[[str], None]
) -> OptimizerSettings:
    """The optimiser's settings, with the rate that suits a task where none is given; told.

    step: how much of the duration one is; 0 where that is not known.
    """
    given = settings.optimizer
    task = settings.objective.name not in ON_TEXT
    if given.lr is not None or settings.fresh or not task or given.name != "adamw":
        return given
    share, what = 1.0, "is tuned"
    if settings.objective.task == "prefer":
        share = preference_share(step)
        what = f"learns preferences ({share:.0%} of what tuning takes, by the number of steps)"
    lr = tuning_lr(network, lora=settings.method.kind == "lora", share=share)
    tell(f"optimizer.lr is not given: {lr:g}, which suits a model of this size that {what}.")
    return replace(given, lr=lr)
