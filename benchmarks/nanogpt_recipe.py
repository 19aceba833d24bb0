"""nanoGPT's published CPU recipe for tiny Shakespeare, written anew as a peer to measure against.

The recipe (github.com/karpathy/nanoGPT, README, "I only have a macbook"): characters, 4 layers of 4
heads, 128 wide, context 64, batch 12, 2000 steps of AdamW in float32, learning rate 1e-3 falling by
a cosine to 1e-4 after 100 steps of warm-up, beta2 0.99, weight decay 0.1 on matrices, gradients
clipped at 1, no dropout, no biases, learned positions, GELU, tied embeddings; the loss estimated on
20 batches of each part every 250 steps. Everything is as that README and its configuration say;
only the code is ours, so that a run has both sides on one set of libraries.

    python benchmarks/nanogpt_recipe.py TEXT

prints a line of JSON when it is trained, and one with the loss over the whole held-out part.
"""

import json
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

LAYERS, HEADS, WIDTH, CONTEXT = 4, 4, 128, 64
BATCH, STEPS, WARMUP = 12, 2000, 100
PEAK, FLOOR, DECAY, BETAS = 1e-3, 1e-4, 0.1, (0.9, 0.99)
EVALUATE_EVERY, EVALUATE_BATCHES = 250, 20


class Block(nn.Module):
    """x + attention(norm(x)), then x + feed-forward(norm(x))."""

    def __init__(self) -> None:
        super().__init__()
        self.norm_1 = nn.LayerNorm(WIDTH, bias=False)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.out = nn.Linear(WIDTH, WIDTH, bias=False)
        self.norm_2 = nn.LayerNorm(WIDTH, bias=False)
        self.up = nn.Linear(WIDTH, 4 * WIDTH, bias=False)
        self.down = nn.Linear(4 * WIDTH, WIDTH, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        B, T, D = x_BTD.shape
        q, k, v = (
            part.view(B, T, HEADS, D // HEADS).transpose(1, 2)
            for part in self.qkv(self.norm_1(x_BTD)).split(D, dim=2)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x_BTD + self.out(y.transpose(1, 2).contiguous().view(B, T, D))
        return x + self.down(F.gelu(self.up(self.norm_2(x))))  # type: ignore[no-any-return]


class Peer(nn.Module):
    """The recipe's GPT: characters in, logits over characters out."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocab_size, WIDTH)
        self.positions = nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH, bias=False)
        self.head = nn.Linear(WIDTH, vocab_size, bias=False)
        self.head.weight = self.tokens.weight
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                residual = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * LAYERS if residual else 1))

    def forward(self, ids_BT: Tensor) -> Tensor:
        """Logits [B, T, V] of the character after each."""
        x = self.tokens(ids_BT) + self.positions(torch.arange(ids_BT.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))  # type: ignore[no-any-return]

    def loss(self, ids_BT: Tensor, targets_BT: Tensor) -> Tensor:
        """Mean cross-entropy in nats."""
        return F.cross_entropy(self(ids_BT).flatten(0, 1), targets_BT.flatten())


@dataclass(frozen=True)
class PeerResult:
    """What one run of the recipe gave."""

    model: Peer
    seconds: float
    """Wall time of the whole run, its own evaluations included, as its user waits for it."""
    training_seconds: float
    """Wall time without those evaluations."""
    estimates: list[tuple[int, float]]
    """Step and the recipe's own estimate of the validation loss (20 random batches)."""


def learning_rate(step: int) -> float:
    """Linear warm-up, then a cosine to the floor."""
    if step < WARMUP:
        return PEAK * (step + 1) / (WARMUP + 1)
    share = (step - WARMUP) / (STEPS - WARMUP)
    return FLOOR + 0.5 * (1 + math.cos(math.pi * share)) * (PEAK - FLOOR)


def draw(ids: np.ndarray, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A batch of windows at random places, and the same windows one character later."""
    starts = torch.randint(len(ids) - CONTEXT, (BATCH,), generator=generator).tolist()
    x = torch.stack([torch.from_numpy(ids[i : i + CONTEXT].astype(np.int64)) for i in starts])
    y = torch.stack(
        [torch.from_numpy(ids[i + 1 : i + 1 + CONTEXT].astype(np.int64)) for i in starts]
    )
    return x, y


def train_peer(
    train: np.ndarray,
    held_out: np.ndarray,
    *,
    vocab_size: int,
    seed: int = 1337,
    steps: int = STEPS,
) -> PeerResult:
    """Run the recipe on `train` (ids of characters) and say how long it took."""
    begin = time.perf_counter()
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = Peer(vocab_size)
    decayed = [p for p in model.parameters() if p.dim() >= 2]
    plain = [p for p in model.parameters() if p.dim() < 2]
    groups = [
        {"params": decayed, "weight_decay": DECAY},
        {"params": plain, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=PEAK, betas=BETAS)
    estimates, evaluating = [], 0.0
    for step in range(steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step)
        if step % EVALUATE_EVERY == 0:
            paused = time.perf_counter()
            model.eval()
            with torch.no_grad():
                for part in (train, held_out):
                    losses = [
                        model.loss(*draw(part, generator)).item() for _ in range(EVALUATE_BATCHES)
                    ]
            model.train()
            estimates.append((step, sum(losses) / len(losses)))
            evaluating += time.perf_counter() - paused
        loss = model.loss(*draw(train, generator))
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()  # the recipe logs every step
    seconds = time.perf_counter() - begin
    return PeerResult(model, seconds, seconds - evaluating, estimates)


@torch.no_grad()
def held_out_loss(model: Peer, ids: np.ndarray, *, stride: int = 16) -> float:
    """Nats per character of all of `ids` but the first, each scored once in sliding windows.

    Every character is given at least CONTEXT - stride before it.
    """
    model.eval()
    tokens = torch.from_numpy(ids.astype(np.int64))
    begins, firsts = [0], [0]
    while begins[-1] + CONTEXT + 1 < len(tokens):
        begin = min(begins[-1] + stride, len(tokens) - 1 - CONTEXT)
        firsts.append(begins[-1] + CONTEXT - begin)
        begins.append(begin)
    total = 0.0
    for at in range(0, len(begins), 64):
        start, first = torch.tensor(begins[at : at + 64]), torch.tensor(firsts[at : at + 64])
        windows = tokens[start[:, None] + torch.arange(CONTEXT + 1)]
        costs = F.cross_entropy(
            model(windows[:, :-1]).transpose(1, 2), windows[:, 1:], reduction="none"
        )
        scored = torch.arange(CONTEXT) >= first[:, None]
        total += costs.double().mul(scored).sum().item()
    return total / (len(tokens) - 1)


def main() -> None:
    """Run the recipe on a text: its first nine tenths to learn from, the rest held out."""
    text = Path(sys.argv[1]).read_text(encoding="utf-8")
    characters = sorted(set(text))
    number = {character: i for i, character in enumerate(characters)}
    ids = np.array([number[character] for character in text], dtype=np.uint16)
    cut = int(len(ids) * 0.9)
    result = train_peer(ids[:cut], ids[cut:], vocab_size=len(characters))
    # The clock of whoever started this stops at the first line.
    print(
        json.dumps(
            {
                "seconds": result.seconds,
                "training_seconds": result.training_seconds,
                "estimates": result.estimates,
                "parameters": sum(p.numel() for p in result.model.parameters()),
            }
        ),
        flush=True,
    )
    print(json.dumps({"held_out_loss": held_out_loss(result.model, ids[cut:])}), flush=True)


if __name__ == "__main__":
    main()
