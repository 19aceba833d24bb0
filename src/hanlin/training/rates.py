"""The learning rate of a model that is taught a task, where none is given.

A model that knows something bears less than a fresh one (`optimizers.default_lr`): 3e-5 for one of
BERT's size (Devlin et al. 2019 searched 2e-5 to 5e-5), more for a smaller one in proportion (the
trials are in docs/benchmarks.md), less for a larger one as the square root of the sizes, and about
ten times as much for a LoRA (Schulman et al. 2025, "LoRA Without Regret").
Preferences take a twentieth of that: TRL's defaults are 2e-5 for tuning and 1e-6 for DPO, and
Zephyr took 2e-5 and 5e-7 (Tunstall et al. 2023).
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
"""What a model bears of that while it learns preferences, whose loss holds no text in place."""


def tuning_lr(network: Transformer, *, lora: bool, prefer: bool = False) -> float:
    """A highest learning rate for AdamW to teach this model a task with; prefer: of preferences."""
    tables = {id(m.weight) for m in network.modules() if isinstance(m, nn.Embedding)}
    blocks = sum(p.numel() for p in network.parameters() if id(p) not in tables)
    size = blocks / _BERT
    lr = min(max(3e-5 / max(size if size < 1 else size**0.5, 1e-9), 1e-5), _MOST)
    return float(f"{lr * (10 if lora else 1) * (_PREFER if prefer else 1):.2g}")


def optimizer_of(
    settings: TrainConfig, network: Transformer, *, tell: Callable[[str], None]
) -> OptimizerSettings:
    """The optimiser's settings, with the rate that suits a task where none is given; told."""
    given = settings.optimizer
    task = settings.objective.name not in ON_TEXT
    if given.lr is not None or settings.fresh or not task or given.name != "adamw":
        return given
    prefer = settings.objective.task == "prefer"
    lr = tuning_lr(network, lora=settings.method.kind == "lora", prefer=prefer)
    what = "learns preferences" if prefer else "is tuned"
    tell(f"optimizer.lr is not given: {lr:g}, which suits a model of this size that {what}.")
    return replace(given, lr=lr)
