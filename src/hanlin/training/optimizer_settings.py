"""The settings of an optimiser; `optimizers.build_optimizer` makes it."""

from dataclasses import dataclass
from typing import Literal

from hanlin.config import refuse, written_as
from hanlin.config.plain import name_or_mapping

OptimizerName = Literal["adamw", "sgd", "muon"]

# Which optimisers read which setting; the others are read by all.
_READ_BY: dict[str, tuple[OptimizerName, ...]] = {
    "betas": ("adamw", "muon"),
    "eps": ("adamw", "muon"),
    "momentum": ("sgd", "muon"),
    "nesterov": ("sgd", "muon"),
    "rest_lr": ("muon",),
    "newton_schulz": ("muon",),
}


@dataclass(frozen=True, kw_only=True)
class OptimizerSettings:
    """How the weights are changed. What is not given takes the optimiser's own default."""

    name: OptimizerName = "adamw"
    """adamw, sgd (with momentum), or muon (for the matrices of the blocks, AdamW for the rest)."""
    lr: float | None = None
    """Highest learning rate; chosen by the size of the model when not given."""
    rest_lr: float | None = None
    """muon: highest learning rate of embeddings, head, norms and biases; as `lr` when not given."""
    weight_decay: float | None = None
    """Decoupled weight decay of matrices; 0.1 when not given, 0 for sgd."""
    decay_embeddings: bool = False
    """Decay embeddings and position tables too; norms and biases never are."""
    betas: tuple[float, float] | None = None
    """adamw, and muon for what it leaves to AdamW: how long the two averages remember; 0.9 and 0.95
    when not given."""
    eps: float | None = None
    """adamw, muon: added to the denominator; 1e-8 when not given."""
    momentum: float | None = None
    """sgd: 0.9 when not given; muon: 0.95."""
    nesterov: bool | None = None
    """sgd: off when not given; muon: on."""
    newton_schulz: Literal["auto", "fp32", "bf16"] | None = None
    """muon: the precision in which matrices are orthogonalised; auto takes bf16 where the processor
    multiplies it fast."""
    clip: float | None = 1.0
    """The gradient is scaled down to this global norm; null leaves it."""

    def __post_init__(self) -> None:
        problems = [
            f"{name} has no effect on {self.name}; it is for {' and '.join(readers)}. Remove it."
            for name, readers in _READ_BY.items()
            if getattr(self, name) is not None and self.name not in readers
        ]
        for name in ("lr", "rest_lr", "eps", "clip"):
            if (value := getattr(self, name)) is not None and not value > 0:
                off = "; null turns it off" if name == "clip" else ""
                problems.append(f"{name} is {value:g}; it must be above zero{off}.")
        if self.weight_decay is not None and self.weight_decay < 0:
            problems.append(f"weight_decay is {self.weight_decay:g}; it must not be negative.")
        if self.decay_embeddings and self.decay == 0:
            problems.append("decay_embeddings has no effect with weight_decay 0. Remove it.")
        for name, values in (("momentum", (self.momentum,)), ("betas", self.betas or ())):
            if any(value is not None and not 0 <= value < 1 for value in values):
                problems.append(f"{name} must be at least 0 and below 1.")
        if self.nesterov and self.momentum == 0:
            problems.append("nesterov needs momentum above zero. Set it, or remove nesterov.")
        refuse(problems)

    @property
    def decay(self) -> float:
        """The weight decay, resolved."""
        if self.weight_decay is None:
            return 0.0 if self.name == "sgd" else 0.1
        return self.weight_decay


written_as(name_or_mapping())(OptimizerSettings)
