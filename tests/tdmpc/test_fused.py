"""The fused kernels against the formulas they stand for, forward and backward."""

from __future__ import annotations

import pytest
import torch

from tdmpc import math as tm
from tdmpc.accel import kernels
from tdmpc.agent import ops

pytestmark = pytest.mark.skipif(not kernels.compiled(), reason="no C compiler on this machine: nothing is fused")


def draws(*shape: int, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    return (scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))).requires_grad_()


def grads(y: torch.Tensor, inputs: list[torch.Tensor], **options: bool) -> list[torch.Tensor]:
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(9))
    return list(torch.autograd.grad((y * weights).sum(), inputs, retain_graph=True, **options))


@pytest.mark.parametrize("bins", [11, 101])
def test_two_hot_is_its_formula(bins):
    centres = tm.bin_centres(bins, 10.0)
    x = torch.cat([draws(2, 300, scale=50).detach(), torch.tensor([[0.0, 1e9, -1e9, torch.nan, torch.inf]] * 2)], 1)
    found = ops.two_hot(x, centres)
    torch.testing.assert_close(found, tm.two_hot(x, centres), rtol=1e-4, atol=2e-5, equal_nan=True)
    assert found[:, 300:].isnan().all(-1).tolist() == [[False, False, False, True, False]] * 2
    torch.testing.assert_close(ops.two_hot(x.t(), centres), found.transpose(0, 1), rtol=0, atol=0, equal_nan=True)


def test_softmax_over_bins_is_its_formula():
    bins = tm.bin_centres(101, 10.0)
    logits = draws(2, 3, 5, 101, scale=4).detach()
    torch.testing.assert_close(
        ops.two_hot_inverse(logits, bins), tm.two_hot_inverse(logits, bins), rtol=2e-5, atol=1e-5
    )


def test_a_mean_of_two_hots_is_their_mean():
    centres, x = tm.bin_centres(101, 10.0), draws(2, 3, 40, scale=50).detach()
    torch.testing.assert_close(ops.mean_two_hot(x, centres), tm.two_hot(x, centres).mean(1), rtol=1e-4, atol=2e-5)


def by_both(monkeypatch, operation, inputs):
    """Results of `operation`, and their gradients, from the kernels and as torch operations."""
    found = []
    for _ in range(2):
        result = operation()
        outputs = result if isinstance(result, tuple) else (result,)
        found.append((outputs, [grads(y, inputs, allow_unused=True) for y in outputs]))
        monkeypatch.setattr(kernels, "_library", lambda: None)
    return found


def same(found, rtol=1e-4, atol=1e-5):
    (ours, own_slopes), (theirs, slopes) = found
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=rtol, atol=atol)
    for own, other in zip(own_slopes, slopes, strict=True):
        for a, b in zip(own, other, strict=True):
            none = (g is None or not g.any() for g in (a, b))
            assert a is b is None or all(none) or torch.allclose(a, b, rtol=rtol, atol=atol)


@pytest.mark.parametrize("sets", [(2,), (2, 3)])
@pytest.mark.parametrize("heads", [1, 2])
def test_cross_entropy_is_its_formula(monkeypatch, sets, heads):
    logits = draws(*sets, heads, 4, 5, 101, scale=4)
    target = torch.softmax(draws(*sets, 4, 5, 101, seed=1), -1).detach()
    target[..., 0, :] = 0  # no target, no loss
    weights = torch.tensor([1.0, 0.5, 0.25, 2.0])
    found = by_both(monkeypatch, lambda: ops.cross_entropy(logits, target, weights), [logits])
    assert found[0][0][0].shape == sets
    same(found, atol=1e-6)


@pytest.mark.parametrize("heads", [1, 3])
def test_squared_errors_are_their_formula_and_reach_one_side_each(monkeypatch, heads):
    x, near, weights = draws(2, 3, heads, 5, 7), draws(2, 3, 5, 7, seed=1), torch.tensor([1.0, 0.5, 0.25])
    found = by_both(monkeypatch, lambda: ops.squared_errors(x, near, weights), [x, near])
    same(found, atol=1e-6)
    (to_x, to_near), ((of_x, nothing), (nothing_either, of_near)) = found[0]
    assert torch.equal(to_x, to_near)
    assert of_x.any()
    assert of_near.any()
    assert not any(g is not None and g.any() for g in (nothing, nothing_either))


def test_the_policys_gaussian_is_its_formula(monkeypatch):
    raw, eps = draws(2, 50, 6, scale=4), draws(2, 50, 3, seed=1).detach()

    def operation():
        mean, log_std = ops.mean_and_log_std(raw, -10.0, 2.0)
        return mean, log_std, *ops.gaussian(mean, log_std, eps, 2.5, 4.0)

    found = by_both(monkeypatch, operation, [raw])
    assert found[0][0][4].any()  # some means are beyond the hinge's threshold
    same(found, rtol=2e-4, atol=2e-5)


def test_a_nan_stays_in_its_row_of_the_gaussian():
    mean = torch.zeros(1, 3, 2)
    mean[0, 1, 0] = torch.nan
    action, _, hinge = ops.gaussian(mean, torch.zeros(1, 3, 2), torch.ones(1, 3, 2), 2.5, 4.0)
    assert action.isnan().tolist() == [[[False, False], [True, False], [False, False]]]
    assert hinge.isnan().tolist() == [[False, True, False]]


def test_clipping_scales_each_seed_to_its_own_norm():
    tensors = [draws(3, 40, 1000).detach() * torch.tensor([1e-3, 1.0, torch.nan]).view(3, 1, 1), torch.zeros(3, 1, 5)]
    before = [x.clone() for x in tensors]
    norms = ops.clip_per_seed(tensors, 5.0)
    expected = before[0].flatten(1).norm(dim=1)
    torch.testing.assert_close(norms, expected, equal_nan=True)
    assert torch.equal(tensors[0][0], before[0][0])  # within: untouched
    torch.testing.assert_close(tensors[0][1], before[0][1] * 5 / (expected[1] + 1e-6))
    assert tensors[0][2].isnan().all()
