"""The fused kernels against the formulas they stand for, forward and backward."""

from __future__ import annotations

import pytest
import torch

from tdmpc import fused
from tdmpc import math as tm

pytestmark = pytest.mark.skipif(not fused.compiled(), reason="no C compiler on this machine: nothing is fused")


def draws(*shape: int, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    return (scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))).requires_grad_()


def grads(y: torch.Tensor, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(9))
    return list(torch.autograd.grad((y * weights).sum(), inputs))


@pytest.mark.parametrize("bins", [11, 101])
def test_two_hot_is_its_formula(bins):
    centres = tm.bin_centres(bins, 10.0)
    x = torch.cat([draws(2, 300, scale=50).detach(), torch.tensor([[0.0, 1e9, -1e9, torch.nan, torch.inf]] * 2)], 1)
    found = fused.two_hot(x, centres)
    torch.testing.assert_close(found, tm.two_hot(x, centres), rtol=1e-4, atol=2e-5, equal_nan=True)
    assert found[:, 300:].isnan().all(-1).tolist() == [[False, False, False, True, False]] * 2
    torch.testing.assert_close(fused.two_hot(x.t(), centres), found.transpose(0, 1), rtol=0, atol=0, equal_nan=True)


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
