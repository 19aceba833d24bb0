"""The chunked divergence is the plain one, value and gradients, however it is cut."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hanlin.kernels.kl import Scores, kl_sum

N, D, WIDER, V = 29, 12, 20, 43


def _scores(draw: torch.Generator, width: int, softcap: float | None, bias: bool) -> Scores:
    states = torch.randn(N, width, generator=draw, dtype=torch.float64)
    weight = torch.randn(V, width, generator=draw, dtype=torch.float64)
    offset = torch.randn(V, generator=draw, dtype=torch.float64) if bias else None
    return Scores(states, weight, offset, softcap)


def _case(
    seed: int, *, bias: bool = True, softcap: float | None = None
) -> tuple[Scores, Scores, list[Tensor]]:
    """A student, a wider teacher, and the student's tensors that are learnt."""
    print("seed", seed)
    draw = torch.Generator().manual_seed(seed)
    student, teacher = _scores(draw, D, softcap, bias), _scores(draw, WIDER, softcap, bias)
    learnt = [t for t in (student.states, student.weight, student.bias) if t is not None]
    for tensor in learnt:
        tensor.requires_grad_()
    return student, teacher, learnt


def _logits(scores: Scores) -> Tensor:
    logits = F.linear(scores.states, scores.weight, scores.bias)
    if scores.softcap is None:
        return logits
    return torch.tanh(logits / scores.softcap) * scores.softcap


def _plain(student: Scores, teacher: Scores, temperature: float) -> Tensor:
    mine, theirs = (F.log_softmax(_logits(s) / temperature, -1) for s in (student, teacher))
    return F.kl_div(mine, theirs, reduction="sum", log_target=True)


@pytest.mark.parametrize("chunk", [1, 6, 29, 64, None])
@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize(("bias", "temperature"), [(False, 1.0), (True, 2.5)])
def test_value_and_gradients_are_the_plain_ones(
    chunk: int | None, softcap: float | None, bias: bool, temperature: float
) -> None:
    student, teacher, learnt = _case(3, bias=bias, softcap=softcap)
    right = _plain(student, teacher, temperature)
    found = kl_sum(student, teacher, temperature=temperature, chunk=chunk)
    torch.testing.assert_close(found, right, rtol=1e-12, atol=1e-12)
    wanted = torch.autograd.grad(right * 0.3, learnt)
    got = torch.autograd.grad(found * 0.3, learnt)
    for mine, theirs in zip(got, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)


def test_gradients_are_those_of_small_differences() -> None:
    _, teacher, learnt = _case(4, softcap=2.0)

    def divergence(*tensors: Tensor) -> Tensor:
        return kl_sum(Scores(*tensors, 2.0), teacher, temperature=1.7, chunk=5)  # type: ignore[arg-type]

    grads = torch.autograd.grad(divergence(*learnt), learnt)
    draw = torch.Generator().manual_seed(0)
    for at, grad in enumerate(grads):
        along = torch.randn(grad.shape, generator=draw, dtype=torch.float64)
        values = []
        for sign in (1, -1):
            moved = [tensor.detach() for tensor in learnt]
            moved[at] = moved[at] + sign * 1e-6 * along
            values.append(divergence(*moved).item())
        slope = (values[0] - values[1]) / 2e-6
        assert float((grad * along).sum()) == pytest.approx(slope, rel=1e-6)


def test_a_student_that_is_its_teacher_has_nothing_to_learn() -> None:
    _, teacher, _ = _case(5)
    student = Scores(teacher.states.clone().requires_grad_(), teacher.weight, teacher.bias)
    found = kl_sum(student, teacher, temperature=2.0, chunk=8)
    assert abs(found.item()) < 1e-12
    [grad] = torch.autograd.grad(found, [student.states])
    assert float(grad.abs().max()) < 1e-12


def test_the_teacher_and_what_is_frozen_get_no_gradient() -> None:
    student, teacher, _ = _case(6, bias=False)
    teacher.states.requires_grad_()
    frozen = Scores(student.states, student.weight.detach())
    kl_sum(frozen, teacher).backward()  # type: ignore[no-untyped-call]
    assert student.states.grad is not None
    assert student.weight.grad is None
    assert teacher.states.grad is None
    with torch.no_grad():
        assert not kl_sum(student, teacher).requires_grad


def test_no_rows_are_a_divergence_of_zero() -> None:
    student, teacher, _ = _case(7, bias=False)
    none = Scores(student.states[:0], student.weight)
    found = kl_sum(none, Scores(teacher.states[:0], teacher.weight))
    assert found.item() == 0
    found.backward()  # type: ignore[no-untyped-call]
    assert student.weight.grad is not None
    assert not student.weight.grad.any()


def test_under_autocast_products_are_bfloat16_and_sums_float32() -> None:
    student, teacher, _ = _case(8, bias=False)
    exact = _plain(student, teacher, 2.0)
    (right,) = torch.autograd.grad(exact, [student.states])
    states = student.states.detach().float().requires_grad_()
    narrow = Scores(states, student.weight.detach().float())
    wide = Scores(teacher.states.float(), teacher.weight.float())
    with torch.autocast("cpu", torch.bfloat16):
        found = kl_sum(narrow, wide, temperature=2.0, chunk=8)
    found.backward()  # type: ignore[no-untyped-call]
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact, rtol=2e-2, atol=0)
    assert states.grad is not None
    assert states.grad.dtype == torch.float32
    assert (states.grad - right).norm() < 0.03 * right.norm()


def test_differentiating_twice_is_an_error() -> None:
    student, teacher, _ = _case(9)
    found = kl_sum(student, teacher)
    found.backward(retain_graph=True)  # type: ignore[no-untyped-call]
    with pytest.raises(RuntimeError, match="anew"):
        found.backward()  # type: ignore[no-untyped-call]
