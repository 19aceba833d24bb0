"""The oracle of the family tests: tiny random models of transformers, and ours read from them.

Weights are drawn so that nothing is neutral: norms are not ones, biases not zeros, logits of order
one to ten. Padding may be on either side. Our models count positions over real tokens only, so a
row of a padded batch must get what transformers gives that row alone, without padding.
"""

import json
import logging
import random
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor, nn

from hanlin.models import load
from hanlin.models.directory import read_config, save_directory
from hanlin.models.families import family_of
from hanlin.models.transformer import Transformer

transformers.utils.logging.set_verbosity(logging.CRITICAL)
transformers.utils.logging.disable_progress_bar()
torch.set_num_threads(1)

TOLERANCE = 1e-4
VOCABULARY = 61
PAD = 3


def make(cls: str, config: Any, seed: int) -> nn.Module:
    """A model of transformers with random weights everywhere, run eagerly in float32."""
    torch.manual_seed(seed)
    config._attn_implementation = "eager"
    model: nn.Module = getattr(transformers, cls)(config)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if not p.requires_grad:
                continue  # a table that is computed, such as Marian's sinusoids
            if p.dim() == 1 and name.endswith("weight"):
                p.copy_(torch.randn_like(p) * 0.3 + 1.0)
            elif p.dim() == 1:
                p.copy_(torch.randn_like(p) * 0.3)
            else:
                p.copy_(torch.randn_like(p) * min(0.4, 1.5 / p.shape[-1] ** 0.5))
    return model.eval()


def ours(model: nn.Module, directory: Path, **options: Any) -> Transformer:
    """`model` written by transformers and read by us."""
    model.save_pretrained(directory, **options)
    return load(directory)


def batch(seed: int, rows: int = 3, longest: int = 13) -> list[Tensor]:
    """Sequences of different lengths, without the pad token."""
    draw = random.Random(seed)
    kinds = list(range(4, VOCABULARY))
    lengths = [longest] + [draw.randint(1, longest) for _ in range(rows - 1)]
    return [torch.tensor([draw.choice(kinds) for _ in range(n)]) for n in lengths]


def pad(sequences: list[Tensor], side: str) -> tuple[Tensor, Tensor]:
    """ids and attention_mask [B, T]."""
    longest = max(map(len, sequences))
    ids = torch.full((len(sequences), longest), PAD)
    mask = torch.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        place = slice(len(sequence)) if side == "right" else slice(longest - len(sequence), longest)
        ids[row, place] = sequence
        mask[row, place] = 1
    return ids, mask


def rows_of(output: Tensor, mask: Tensor) -> list[Tensor]:
    """What each row says at its real tokens."""
    return [row[real.bool()] for row, real in zip(output, mask, strict=True)]


def close(mine: Tensor, theirs: Tensor, what: str) -> None:
    """Agreement to the tolerance, of numbers large enough for it to mean something."""
    assert mine.shape == theirs.shape, f"{what}: {mine.shape} {theirs.shape}"
    worst = (mine - theirs).abs().max().item()
    assert worst < TOLERANCE, f"{what}: differs by {worst}"


def same_tensors(first: Path, second: Path) -> None:
    """Two directories hold the same tensors under the same names, bit for bit."""
    a, b = stored(first), stored(second)
    assert set(a) == set(b), set(a) ^ set(b)
    for name, tensor in a.items():
        assert tensor.dtype == b[name].dtype, name
        assert torch.equal(tensor, b[name]), name


def stored(directory: Path) -> dict[str, Tensor]:
    """Every tensor of a directory, from one file or many."""
    found: dict[str, Tensor] = {}
    for path in sorted(directory.glob("*.safetensors")):
        found |= load_file(path)
    return found


def check_round_trip(
    cls: str, theirs: nn.Module, tmp_path: Path, *, unsaid: tuple[str, ...] = ()
) -> None:
    """transformers -> ours -> transformers -> ours: the same tensors, keys and configuration.

    unsaid: fields that config.json alone does not tell.
    """
    first, second, third = tmp_path / "theirs", tmp_path / "ours", tmp_path / "again"
    if not first.is_dir():
        theirs.save_pretrained(first)
    model = load(first, dtype="stored")
    save_directory(model, second)
    same_tensors(first, second)
    back, report = getattr(transformers, cls).from_pretrained(
        second, output_loading_info=True, attn_implementation="eager"
    )
    assert not report["missing_keys"], report
    assert not report["unexpected_keys"], report
    for (name, p), (other, q) in zip(
        theirs.state_dict().items(), back.state_dict().items(), strict=True
    ):
        assert name == other
        assert torch.equal(p, q), name
    back.save_pretrained(third)
    same_tensors(first, third)
    compare_configs(first, third)
    config = read_config(first)
    family = family_of(config.family)
    for other in (read_config(second), read_config(third), family.read(family.write(config))):
        told = {name: getattr(config, name) for name in unsaid}
        assert other.with_changes(**told) == config


# What transformers writes down without computing anything from it (max_window_layers stands behind
# layer_types; n_inner null is the width that we name).
_SILENT = set(
    "transformers_version use_cache label2id problem_type n_inner max_window_layers".split()
)


def compare_configs(first: Path, second: Path) -> None:
    """The configuration survives the way through us, whatever its keys are called."""
    a, b = (json.loads((d / "config.json").read_text()) for d in (first, second))
    for name in (set(a) | set(b)) - _SILENT:
        assert name in a, f"{name} was added: {b[name]!r}"
        assert name in b, f"{name} was lost: {a[name]!r}"
        assert a[name] == b[name], f"{name}: {a[name]!r} became {b[name]!r}"
