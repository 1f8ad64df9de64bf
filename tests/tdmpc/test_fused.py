"""The fused kernels against the formulas they stand for, forward and backward."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tdmpc import fused
from tdmpc import math as tm

pytestmark = pytest.mark.skipif(not fused.compiled(), reason="no C compiler on this machine: nothing is fused")


def draws(*shape: int, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    return (scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))).requires_grad_()


def grads(y: torch.Tensor, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(9))
    return list(torch.autograd.grad((y * weights).sum(), inputs))


def norm_with_grads(
    x: torch.Tensor,
    bias: torch.Tensor,
    drop: torch.Tensor | None,
    scale: torch.Tensor,
    shift: torch.Tensor,
    group: int,
) -> list[torch.Tensor]:
    """What the kernels make of x, and its gradients by x, bias, scale and shift for the weights of `grads`."""
    held, rstd, y = torch.empty_like(x), x.new_empty(x.shape[:-1]), torch.empty_like(x)
    fused.norm_forward(x, bias, drop, scale, shift, group, held, rstd, y)
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(9))
    return [y, *fused.norm_backward(weights, drop, scale, shift, group, held, rstd)]


@pytest.mark.parametrize("group", [0, 8])
@pytest.mark.parametrize("dropped", [False, True])
@pytest.mark.parametrize(("rows", "size"), [(1, 8), (70, 24), (129, 136)])
def test_norm_activation_is_its_formula(group, dropped, rows, size):
    """Odd sizes too: vectors have tails, and gradient sums run in blocks of 64 rows."""
    x, (bias, scale, shift) = draws(2, 3, rows, size, scale=3), (draws(2, 3, 1, size, seed=s) for s in (1, 2, 3))
    drop = torch.tensor([0.0, 1.25]).repeat(2, 3, rows, size // 2) if dropped else None
    y, *found = norm_with_grads(x, bias, drop, scale, shift, group)
    held = (x + bias) * (1 if drop is None else drop)
    pre = F.layer_norm(held, (size,)) * scale + shift
    expected = torch.softmax(pre.unflatten(-1, (-1, 8)), -1).flatten(-2) if group else F.mish(pre)
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=2e-6)
    inputs = [x, bias, scale, shift]
    for ours, theirs in zip(found, grads(expected, inputs), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=2e-5)
    with torch.no_grad():
        assert torch.equal(fused.norm_activation(x.clone(), bias, drop, scale, shift, group), y)


def test_mish_of_extreme_values():
    """Far out on both sides, through a norm that passes its input on: two values become -1 and 1, then the shift."""
    shift = torch.tensor([-200.0, -30.0, -5.0, 0.0, 5.0, 30.0, 200.0]).reshape(1, 7, 1, 1).expand(1, 7, 1, 2)
    x = torch.tensor([-1e4, 1e4]).expand(1, 7, 1, 2).clone()
    zeros, ones = torch.zeros(1, 7, 1, 2), torch.ones(1, 7, 1, 2)
    with torch.no_grad():
        found = fused.norm_activation(x, zeros, None, ones, shift.contiguous())
    torch.testing.assert_close(found, F.mish(shift + torch.tensor([-1.0, 1.0])), rtol=1e-5, atol=1e-30)


def test_nan_and_infinity_stay_in_their_row():
    x = torch.zeros(1, 1, 3, 16)
    x[..., :8] = 1
    x[0, 0, 0, 3], x[0, 0, 1, 3] = float("nan"), float("inf")
    zeros, ones = torch.zeros(1, 1, 1, 16), torch.ones(1, 1, 1, 16)
    for group in (0, 8):
        with torch.no_grad():
            y = fused.norm_activation(x.clone(), zeros, None, ones, zeros, group)
        assert y[0, 0].isnan().all(-1).tolist() == [True, True, False]


def test_softmax_over_bins_is_its_formula():
    bins = tm.bin_centres(101, 10.0)
    logits = draws(2, 3, 5, 101, scale=4)
    ours, theirs = fused.two_hot_inverse(logits, bins), tm.two_hot_inverse(logits, bins)
    torch.testing.assert_close(ours, theirs, rtol=2e-5, atol=1e-5)
    torch.testing.assert_close(*(grads(y, [logits])[0] for y in (ours, theirs)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shared", [(), (1,), (2, 3)])
def test_cross_entropy_is_its_formula(shared):
    logits = draws(2, 3, 4, 2, 101, scale=4)
    target = torch.softmax(draws(2, 3, 4, 2, 101, seed=1), -1).detach()
    target[..., 0, :] = 0  # no target, no loss
    for axis in shared:
        target = target.narrow(axis, 0, 1)
    ours, theirs = fused.soft_cross_entropy(logits, target), tm.soft_cross_entropy(logits, target)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(*(grads(y, [logits])[0] for y in (ours, theirs)), rtol=1e-4, atol=1e-6)


def test_a_target_shared_over_axes_that_are_no_neighbours_is_refused():
    with pytest.raises(ValueError, match="neighbouring"):
        fused.soft_cross_entropy(torch.zeros(2, 2, 2, 4), torch.zeros(1, 2, 1, 4))


def test_threads_change_nothing():
    x, (bias, scale, shift) = draws(2, 1, 1100, 32), (draws(2, 1, 1, 32, seed=s) for s in (1, 2, 3))
    found, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(norm_with_grads(x, bias, None, scale, shift, 0))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_without_a_compiler_the_formulas_run_as_torch(monkeypatch):
    x, (bias, scale, shift) = draws(1, 1, 4, 16), (draws(1, 1, 1, 16, seed=s) for s in (1, 2, 3))
    with torch.no_grad():
        ours = fused.norm_activation(x.clone(), bias, None, scale, shift)
        monkeypatch.setattr(fused, "_library", lambda: None)
        torch.testing.assert_close(ours, fused.norm_activation(x, bias, None, scale, shift), rtol=1e-5, atol=2e-6)
