"""Dropout drops the share it is asked to, keeps the mean, and goes back as it went forth."""

import pytest
import torch

from hanlin.kernels.dropout import dropout


@pytest.mark.parametrize("p", [0.02, 0.1, 0.3, 0.5, 0.9])
def test_the_share_and_the_mean_are_right(p: float) -> None:
    torch.manual_seed(3)
    x = torch.ones(997, 1013)
    y = dropout(x, p)
    deviation = (p * (1 - p) / x.numel()) ** 0.5
    assert abs((y == 0).double().mean().item() - p) < 5 * deviation
    kept = y[y != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - p)), rtol=1e-4, atol=0)


def test_coins_know_nothing_of_each_other() -> None:
    torch.manual_seed(4)
    coins = (dropout(torch.ones(1 << 20), 0.5) != 0).double() * 2 - 1
    # Four coins are of one number: neighbours, and coins of the same place in the next number.
    for distance in (1, 2, 3, 4, 5, 64, 192):
        together = (coins[:-distance] * coins[distance:]).mean().item()
        assert abs(together) < 5 / 1024, distance


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_gradients_go_where_numbers_went(dtype: torch.dtype) -> None:
    x = torch.randn(7, 3, 5, dtype=dtype, requires_grad=True)
    torch.manual_seed(0)
    y = dropout(x, 0.3)
    dy = torch.randn_like(y)
    (dx,) = torch.autograd.grad(y, x, dy)
    mask = (y != 0).to(dtype)
    assert y.dtype == dx.dtype == dtype
    torch.testing.assert_close(
        y, x * mask / 0.7, rtol=2e-2 if dtype == torch.bfloat16 else 1e-4, atol=1e-5
    )
    torch.testing.assert_close(
        dx, dy * mask / 0.7, rtol=2e-2 if dtype == torch.bfloat16 else 1e-4, atol=1e-5
    )


def test_the_seed_decides() -> None:
    x = torch.randn(33, 5)

    def drawn(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return torch.cat([dropout(x, 0.4), dropout(x, 0.4)])

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))
    one, other = drawn(1).split(33)
    assert not torch.equal(one, other)


def test_nothing_is_dropped_at_zero() -> None:
    x = torch.randn(4)
    assert dropout(x, 0.0) is x
    torch.manual_seed(0)
    assert (dropout(torch.ones(10_000), 0.99999) == 0).double().mean() > 0.999
