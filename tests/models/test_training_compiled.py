"""Compiled blocks compute what they compute uncompiled. Needs a C++ compiler, and a minute."""

import shutil
from typing import Any

import pytest
import torch
from torch import Tensor

from hanlin.models.config import ModelConfig
from hanlin.models.transformer import Transformer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs g++"),
]


@pytest.mark.parametrize(
    "changes",
    [
        {"num_kv_heads": 1},
        {"qk_norm": True, "sliding_window": 4, "layer_kinds": ("sliding",)},
        {"shape": "encoder", "head": "none", "position": "relative"},
    ],
    ids=["grouped", "sliding", "relative"],
)
def test_compiled_blocks_give_the_same_gradients(changes: dict[str, Any]) -> None:
    fields: dict[str, Any] = {
        "family": "llama",
        "shape": "decoder",
        "head": "none",
        "vocab_size": 50,
        "hidden_size": 32,
        "num_layers": 1,
        "num_heads": 2,
        "intermediate_size": 48,
        "max_context": 32,
    }
    torch.manual_seed(0)
    model = Transformer(ModelConfig(**(fields | changes))).train()
    ids = torch.randint(0, 50, (2, 12))
    segments = (torch.arange(12) // 5).expand(2, 12)

    def gradients() -> list[Tensor]:
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            out = model.hidden(ids, segments=segments)
        out.float().square().sum().backward()  # type: ignore[no-untyped-call]
        return [p.grad.clone() for p in model.parameters() if p.grad is not None]

    plain = gradients()
    model.compile_blocks()
    for mine, theirs in zip(gradients(), plain, strict=True):
        assert (mine - theirs).norm() <= 0.03 * theirs.norm()
