"""Optimisers: who is stepped how, against torch's own and against a float64 loop."""

import copy
import re
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from hanlin.errors import ConfigError, FormatError
from hanlin.models.new import NEW, new_config
from hanlin.models.transformer import Transformer
from hanlin.training.muon import newton_schulz, orthogonalise
from hanlin.training.optimizer_settings import OptimizerSettings
from hanlin.training.optimizers import (
    Optimizer,
    build_optimizer,
    clip_gradients,
    default_lr,
    flatten_state,
    parameter_groups,
    restore_state,
    splits,
)

NAMES = ["adamw", "sgd", "muon"]


def small(family: str = "llama", *, seed: int = 0, **changes: Any) -> Transformer:
    torch.manual_seed(seed)
    fields = {"hidden_size": 32, "num_layers": 2, "max_context": 16} | changes
    return Transformer(new_config(family, vocab_size=40, **fields))


def give_gradients(model: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


# Who is treated how. Written out by name: the patterns know nothing of modules.

ROLES = {
    "embedding": r"embedding\.weight|.*\.(positions|types|relative)\.weight",
    "head": r"head\.projection\.weight",
    "vector": r".*(norm\.weight|\.bias)",
    "matrix": r".*\.(attention|cross)\.(qkv|q|kv|out)\.weight|.*\.mlp\.(up|down)\.weight"
    r"|head\.transform\.dense\.weight",
}


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", NEW)
def test_every_parameter_of_every_family_has_its_group(family: str, tied: bool) -> None:
    if not tied and NEW[family].shape == "encoder-decoder" and not family.endswith("t5"):
        pytest.skip("these families are always tied")
    model = small(family, tie_embeddings=tied)
    for name in NAMES:
        groups = parameter_groups(model, OptimizerSettings(name=name, weight_decay=0.3))  # type: ignore[arg-type]
        listed = [n for group in groups for n, _ in group["params"]]
        assert sorted(listed) == sorted(n for n, _ in model.named_parameters())
        for group in groups:
            assert group["weight_decay"] == (0.3 if group["name"] in ("matrix", "head") else 0.0)
            by_muon = name == "muon" and group["name"] == "matrix"
            assert group["kind"] == ("adamw" if name == "muon" and not by_muon else name)
            for n, _ in group["params"]:
                assert re.fullmatch(ROLES[group["name"]], n), (n, group["name"])
        assert ("head" in {g["name"] for g in groups}) == (not tied)


def test_embeddings_decay_when_asked() -> None:
    settings = OptimizerSettings(decay_embeddings=True)
    decay = {g["name"]: g["weight_decay"] for g in parameter_groups(small("gpt2"), settings)}
    assert decay == {"matrix": 0.1, "embedding": 0.1, "vector": 0.0}


def test_a_frozen_parameter_is_in_no_group() -> None:
    model = small()
    model.embedding.weight.requires_grad_(False)
    listed = {n for g in parameter_groups(model, OptimizerSettings()) for n, _ in g["params"]}
    assert listed == {n for n, _ in model.named_parameters()} - {"embedding.weight"}
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(ConfigError, match="Unfreeze"):
        build_optimizer(model, OptimizerSettings())


@pytest.mark.parametrize("family", NEW)
def test_joined_matrices_are_split_where_a_directory_splits_them(family: str) -> None:
    from hanlin.models.families import family_of

    model = small(family, hidden_size=64)
    table = family_of(family).weights(model.config)
    sizes = splits(model)
    for name, source in table.items():
        if len(source.names) > 1 and name.endswith(".weight"):
            assert sizes[name] == source.sizes
    for name, parts in sizes.items():
        assert sum(parts) == model.get_parameter(name).shape[0]


# Against torch


def torch_groups(model: nn.Module) -> list[dict[str, Any]]:
    decayed = [p for n, p in model.named_parameters() if re.fullmatch(ROLES["matrix"], n)]
    rest = [p for n, p in model.named_parameters() if not re.fullmatch(ROLES["matrix"], n)]
    return [{"params": decayed, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]


def run(model: nn.Module, optimizer: Any, steps: int, lr: float) -> None:
    for step in range(steps):
        give_gradients(model, step)
        for group in optimizer.param_groups:
            group["lr"] = lr / (1 + step)
        optimizer.step()


def test_adamw_is_that_of_torch() -> None:
    ours, theirs = small(), small()
    run(ours, build_optimizer(ours, OptimizerSettings(betas=(0.8, 0.9), eps=1e-6)), 5, 1e-2)
    expected = torch.optim.AdamW(torch_groups(theirs), betas=(0.8, 0.9), eps=1e-6, foreach=False)
    run(theirs, expected, 5, 1e-2)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_sgd_is_that_of_torch(momentum: float, nesterov: bool) -> None:
    if nesterov and not momentum:
        pytest.skip("nesterov needs momentum")
    ours, theirs = small(), small()
    settings = OptimizerSettings(name="sgd", momentum=momentum, nesterov=nesterov)
    run(ours, build_optimizer(ours, settings), 5, 1e-2)
    expected = torch.optim.SGD(
        theirs.parameters(), lr=1.0, momentum=momentum, nesterov=nesterov, foreach=False
    )
    run(theirs, expected, 5, 1e-2)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


def test_the_decay_of_sgd_is_decoupled() -> None:
    model = small()
    before = model.get_parameter("decoder.layers.0.mlp.up.weight").clone()
    optimizer = build_optimizer(model, OptimizerSettings(name="sgd", weight_decay=0.5, lr=0.1))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    after = model.get_parameter("decoder.layers.0.mlp.up.weight")
    torch.testing.assert_close(after, before * (1 - 0.1 * 0.5))


@pytest.mark.parametrize("shape", [(24, 24), (48, 16), (16, 48)])
@pytest.mark.parametrize("nesterov", [True, False])
def test_muon_is_that_of_torch_on_plain_matrices(shape: tuple[int, int], nesterov: bool) -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(3)
            self.line = nn.Linear(shape[1], shape[0], bias=False)

    ours, theirs = Plain(), Plain()
    settings = OptimizerSettings(name="muon", newton_schulz="bf16", nesterov=nesterov)
    run(ours, build_optimizer(ours, settings), 4, 1e-2)
    expected = torch.optim.Muon(
        theirs.parameters(), weight_decay=0.1, nesterov=nesterov, adjust_lr_fn="match_rms_adamw"
    )
    run(theirs, expected, 4, 1e-2)
    # Theirs rounds to bfloat16 in another order.
    difference = (ours.line.weight - theirs.line.weight).norm()
    start = Plain().line.weight
    assert difference < 0.02 * (theirs.line.weight - start).norm()


def newton_schulz_loop(matrix: Tensor) -> Tensor:
    """Jordan et al. 2024, as they print it."""
    x = matrix.double()
    x = x.T if matrix.shape[0] > matrix.shape[1] else x
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        a = x @ x.T
        b = -4.7750 * a + 2.0315 * a @ a
        x = 3.4445 * x + b @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


@pytest.mark.parametrize("seed", range(5))
def test_matrices_of_any_shapes_together(seed: int) -> None:
    print("seed", seed)
    generator = torch.Generator().manual_seed(seed)
    shapes = [(8, 8), (8, 20), (20, 8), (1, 5), (8, 8), (7, 3)]
    updates = [torch.randn(shape, generator=generator) for shape in shapes]
    done = orthogonalise(updates, dtype=torch.float32)
    for update, result in zip(updates, done, strict=True):
        expected = newton_schulz_loop(update) * 0.2 * max(update.shape) ** 0.5
        assert result.shape == update.shape
        torch.testing.assert_close(result.double(), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_singular_values_come_near_one(dtype: torch.dtype) -> None:
    matrices = torch.randn(3, 20, 50, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(newton_schulz(matrices, dtype=dtype).float())
    assert 0.6 < values.min() < values.max() < 1.3


def test_a_matrix_of_zeros_stays_one() -> None:
    (done,) = orthogonalise([torch.zeros(4, 6)], dtype=torch.float32)
    assert torch.equal(done, torch.zeros(4, 6))


@pytest.mark.parametrize("family", ["qwen2", "t5"])
def test_muon_treats_the_parts_of_a_joined_matrix_apart(family: str) -> None:
    """As it would treat them in a model that keeps them apart."""
    model = small(family, num_kv_heads=1, head_dim=16) if family == "qwen2" else small(family)
    settings = OptimizerSettings(name="muon", newton_schulz="fp32", weight_decay=0, lr=1.0)
    optimizer = build_optimizer(model, settings)
    give_gradients(model, 0)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    optimizer.step()
    for name, sizes in splits(model).items():
        parameter = model.get_parameter(name)
        assert parameter.grad is not None
        # The first step: momentum 0.05 g, and Nesterov's 0.95 of it with 0.05 g beside: one scale.
        expected = torch.cat(
            [newton_schulz_loop(g) * 0.2 * max(g.shape) ** 0.5 for g in parameter.grad.split(sizes)]
        )
        torch.testing.assert_close(
            (before[name] - parameter).double(), expected, rtol=2e-3, atol=2e-3
        )


@pytest.mark.parametrize("name", NAMES)
def test_each_learns_a_few_lines_by_heart_at_its_default_rate(name: Any) -> None:
    model = small(hidden_size=64).train()
    ids = torch.randint(0, 40, (4, 12), generator=torch.Generator().manual_seed(0))
    optimizer = build_optimizer(model, OptimizerSettings(name=name))
    for step in range(80):
        logits = model(ids[:, :-1]).logits
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        clip_gradients(model.parameters(), 1.0)
        optimizer.set_lr(min(1.0, (step + 1) / 10, (80 - step) / 40))
        optimizer.step()
    print("last loss", loss.item())
    assert loss.item() < (2.0 if name == "sgd" else 0.2)


# Rates


def test_one_factor_sets_every_rate() -> None:
    settings = OptimizerSettings(name="muon", lr=0.02, rest_lr=0.003)
    optimizer = build_optimizer(small(), settings)
    optimizer.set_lr(0.5)
    rates = {g["name"]: g["lr"] for g in optimizer.param_groups}
    assert rates == {"matrix": 0.01, "embedding": 0.0015, "vector": 0.0015}
    assert optimizer.lr == 0.01
    optimizer.set_lr(1.0)
    assert optimizer.lr == 0.02


def test_default_rates_fall_with_size_and_are_those_people_use() -> None:
    def rate(name: Any, family: str, width: int, layers: int) -> float:
        with torch.device("meta"):
            model = Transformer(
                new_config(family, vocab_size=100, hidden_size=width, num_layers=layers)
            )
        return default_lr(name, model)

    assert rate("adamw", "gpt2", 128, 4) == 3e-3
    assert 5e-4 < rate("adamw", "gpt2", 768, 12) < 8e-4  # nanoGPT: 6e-4
    assert rate("adamw", "gpt2", 256, 6) > rate("adamw", "gpt2", 512, 6)
    assert rate("muon", "gpt2", 256, 6) > rate("adamw", "gpt2", 256, 6)
    assert rate("adamw", "bert", 768, 12) < rate("adamw", "modernbert", 768, 12)


# Clipping


@pytest.mark.parametrize("largest", [None, 0.5, 1e6])
def test_clipping_is_by_the_norm_of_all_gradients(largest: float | None) -> None:
    model = small()
    give_gradients(model, 0)
    before = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    expected = torch.cat([g.double().flatten() for g in before]).norm()
    norm = clip_gradients(model.parameters(), largest)
    assert float(norm) == pytest.approx(float(expected), rel=1e-5)
    scale = 1.0 if largest is None else min(1.0, largest / float(expected))
    for parameter, gradient in zip(model.parameters(), before, strict=True):
        torch.testing.assert_close(parameter.grad, gradient * scale, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_norm_that_is_no_number_is_told(bad: float) -> None:
    model = small()
    give_gradients(model, 0)
    assert model.embedding.weight.grad is not None
    model.embedding.weight.grad[0, 0] = bad
    assert not torch.isfinite(clip_gradients(model.parameters(), 1.0))


# State


@pytest.mark.parametrize("name", NAMES)
def test_a_restored_optimiser_goes_on_bit_for_bit(name: Any) -> None:
    settings = OptimizerSettings(name=name, lr=1e-2)
    one, two = small(), small()
    optimizer = build_optimizer(one, settings)
    run(one, optimizer, 3, 1e-2)
    stored = load(save({k: v.contiguous() for k, v in flatten_state(optimizer).items()}))
    two.load_state_dict(one.state_dict())
    again = build_optimizer(two, settings)
    restore_state(again, stored)
    run(one, optimizer, 3, 1e-2)
    run(two, again, 3, 1e-2)
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)
    for key, value in flatten_state(optimizer).items():
        assert torch.equal(value, flatten_state(again)[key])


@pytest.mark.parametrize("name", NAMES)
def test_the_state_dict_restores_it_too(name: Any) -> None:
    settings = OptimizerSettings(name=name, lr=1e-2)
    one, two = small(), small()
    optimizer, again = build_optimizer(one, settings), build_optimizer(two, settings)
    run(one, optimizer, 3, 1e-2)
    two.load_state_dict(one.state_dict())
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    run(one, optimizer, 2, 1e-2)
    run(two, again, 2, 1e-2)
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)


def test_state_that_does_not_fit_is_refused() -> None:
    model = small()
    optimizer = build_optimizer(model, OptimizerSettings())
    run(model, optimizer, 1, 1e-3)
    state = flatten_state(optimizer)

    def refused(changed: dict[str, Tensor], settings: OptimizerSettings, message: str) -> None:
        with pytest.raises(FormatError, match=message):
            restore_state(build_optimizer(small(), settings), changed)

    refused(state, OptimizerSettings(name="sgd"), "no place for")
    refused(state | {"x.exp_avg": torch.zeros(1)}, OptimizerSettings(), "'x.exp_avg'")
    wrong = {"embedding.weight.exp_avg": torch.zeros(3)}
    refused(state | wrong, OptimizerSettings(), "has shape")
    part = {k: v for k, v in state.items() if k != "embedding.weight.exp_avg"}
    refused(part, OptimizerSettings(), "not whole")


def test_nothing_is_stored_before_the_first_step() -> None:
    optimizer = build_optimizer(small(), OptimizerSettings())
    assert flatten_state(optimizer) == {}
    restore_state(optimizer, {})
    assert isinstance(optimizer, Optimizer)
