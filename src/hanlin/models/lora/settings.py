"""What a LoRA is told when it is made. Importing this does not import torch."""

from dataclasses import dataclass
from typing import Literal

from hanlin.config import refuse

ALL_LINEAR: Literal["all-linear"] = "all-linear"


@dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """A low-rank adapter (Hu et al. 2021); raises `ConfigError` for what cannot be."""

    rank: int = 8
    """Width of the products that are learnt: more can say more and costs more."""
    alpha: float = 16.0
    """What is learnt is multiplied by alpha / rank."""
    targets: Literal["all-linear"] | tuple[str, ...] = ALL_LINEAR
    """Which linear layers: all of them but heads, or the ends of their names as transformers has
    them, such as q_proj, v_proj (PEFT's target_modules)."""
    dropout: float = 0.0
    """Share of the layers' inputs that the adapter does not see while training."""
    dora: bool = False
    """Learn the length of every weight row beside its direction (Liu et al. 2024)."""
    rank_stabilised: bool = False
    """Multiply by alpha / sqrt(rank) instead: large ranks then learn as fast (Kalajdzievski
    2023)."""

    def __post_init__(self) -> None:
        refuse(self.problems())

    def problems(self) -> list[str]:
        """What is wrong with them."""
        problems = []
        if self.rank < 1:
            problems.append(f"rank is {self.rank}; it must be at least 1.")
        if not self.alpha > 0:
            problems.append(f"alpha is {self.alpha:g}; it must be above zero.")
        if not self.targets:
            problems.append("targets names no layers. Name some, or write all-linear.")
        if not 0 <= self.dropout < 1:
            problems.append(f"dropout is {self.dropout:g}; it must be from 0 to below 1.")
        return problems
