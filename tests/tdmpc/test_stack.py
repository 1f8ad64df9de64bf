"""A stack of layers by the kernels, against its layers one after another as torch operations."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tdmpc import math as tm
from tdmpc.accel import kernels
from tdmpc.agent import ops
from tdmpc.agent.ensemble_mlp import StackedMLP
from tdmpc.rng import Draws

pytestmark = pytest.mark.skipif(not kernels.compiled(), reason="no C compiler on this machine: nothing is fused")

SIZES = [17, 24, 32, 8]


def stack(seeds: int, heads: int, simnorm: int, sizes: list[int] = SIZES) -> StackedMLP:
    """With biases, scales and shifts that are no longer what they start at."""
    net = StackedMLP(heads, sizes, range(seeds), "test", simnorm=simnorm)
    noise = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn(parameter.shape[1:], generator=noise), alpha=0.3)
    return net


def gradients(y: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    weights = torch.randn(y.shape[1:], generator=torch.Generator().manual_seed(9)).expand(y.shape)
    return list(torch.autograd.grad((y * weights).sum(), inputs))


@pytest.mark.parametrize("simnorm", [0, 4])
@pytest.mark.parametrize("shared", [False, True], ids=["own inputs", "shared input"])
@pytest.mark.parametrize("dropped", [False, True])
@pytest.mark.parametrize(
    ("rows", "sizes"),
    [(70, SIZES), (1, SIZES), (0, SIZES), (600, SIZES), (70, [5, 96]), (9, [3, 2, 20]), (130, [78, 128, 128, 100])],
)
def test_it_is_its_layers_one_after_another(
    monkeypatch: pytest.MonkeyPatch, simnorm: int, shared: bool, dropped: bool, rows: int, sizes: list[int]
) -> None:
    """Odd sizes too: vectors have tails, rows go in blocks of 64, and their gradients are summed over spans of 256."""
    net = stack(2, 3, simnorm, sizes)
    # always the same: a norm over two numbers that are nearly equal magnifies rounding beyond any tolerance
    x = torch.randn(2, 1 if shared else 3, rows, sizes[0], generator=torch.Generator().manual_seed(7)).requires_grad_()
    drop = None
    if dropped and len(sizes) > 2:  # of more rows than there are, as where values are trained on fewer states
        drop = Draws.fresh([1, 2], "dropout").dropout(0.3, 3, rows + 5, sizes[1])
    inputs = [x, *net.parameters()]
    found = net(x, dropout=drop)
    ours = gradients(found, inputs)
    with torch.no_grad():
        torch.testing.assert_close(net(x, dropout=drop), found, rtol=0, atol=0)
    monkeypatch.setattr(kernels, "_library", lambda: None)
    expected = net(x, dropout=drop)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    for own, theirs in zip(ours, gradients(expected, inputs), strict=True):
        torch.testing.assert_close(own, theirs, rtol=1e-3, atol=3e-4 * max(1, rows / 70))


@pytest.mark.parametrize(("heads_of_x", "heads_beside"), [(1, 1), (3, 1), (1, 3), (3, 3)])
def test_two_inputs_beside_each_other_are_one(heads_of_x: int, heads_beside: int) -> None:
    """As latents and actions are; a gradient is given to the one that asks for it, also where rows have none."""
    net = stack(2, 3, 4)
    x, beside = torch.randn(2, heads_of_x, 150, 12), torch.randn(2, heads_beside, 150, 5)
    pull = torch.randn(2, 3, 150, 8, generator=torch.Generator().manual_seed(3))
    pull[:, :, 40:90] = 0
    one = torch.cat([part.expand(-1, 3, -1, -1) for part in (x, beside)], -1).requires_grad_()
    expected = net(one)
    slopes = torch.autograd.grad(expected, [net.numbers, one], pull)
    to_x, to_beside = slopes[1].split([12, 5], -1)
    for wanted in ((x,), (beside,), (x, beside)):
        for part in (x, beside):
            part.requires_grad_(any(part is one for one in wanted))
        y = net(x, beside)
        assert torch.equal(y, expected)
        of_numbers, *of = torch.autograd.grad(y, [net.numbers, *wanted], pull)
        assert torch.equal(of_numbers, slopes[0])
        for part, found in zip(wanted, of, strict=True):
            whole = to_x if part is x else to_beside
            whole = whole if part.shape[1] == 3 else whole.sum(1, keepdim=True)
            torch.testing.assert_close(found, whole, rtol=1e-5, atol=1e-6)


def test_an_input_without_heads_is_shared_by_them() -> None:
    net, x = stack(2, 3, 4), torch.randn(2, 70, 17, requires_grad=True)
    assert torch.equal(net(x), net(x.unsqueeze(1)))
    (found,), (expected,) = (gradients(net(each), [x]) for each in (x, x.unsqueeze(1)))
    assert torch.equal(found, expected)


@pytest.mark.parametrize("rows", [1, 70])
def test_with_bins_it_gives_what_its_logits_stand_for(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    """As rewards and values do; a row without a gradient leaves none."""
    bins = tm.bin_centres(101, 10.0)
    net, x = stack(2, 3, 0, [17, 24, 32, 101]), torch.randn(2, 3, rows, 17, requires_grad=True)
    pull = torch.randn(2, 3, rows, generator=torch.Generator().manual_seed(3))
    pull[:, 1:, ::3] = 0
    found = net(x, bins=bins)
    ours = torch.autograd.grad(found, [x, net.numbers], pull)
    with torch.no_grad():
        assert torch.equal(net(x, bins=bins), found)
    torch.testing.assert_close(found, ops.two_hot_inverse(net(x), bins), rtol=1e-6, atol=1e-6)
    monkeypatch.setattr(kernels, "_library", lambda: None)
    expected = net(x, bins=bins)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-5)
    for own, theirs in zip(ours, torch.autograd.grad(expected, [x, net.numbers], pull), strict=True):
        torch.testing.assert_close(own, theirs, rtol=1e-3, atol=1e-4 * own.abs().max().item())


def test_rows_whose_gradient_nobody_wants_get_none() -> None:
    """As start states behind the first have none; what the parameters get does not change."""
    net, x = stack(2, 2, 0), torch.randn(2, 200, 17, requires_grad=True)
    pull = torch.randn(2, 2, 200, 8, generator=torch.Generator().manual_seed(3))
    of_all, expected = torch.autograd.grad(net(x), [x, net.numbers], pull)
    of_first, found = torch.autograd.grad(net(x, live=64), [x, net.numbers], pull)
    assert torch.equal(found, expected)
    assert torch.equal(of_first[:, :64], of_all[:, :64])
    assert not of_first[:, 64:].any()


@pytest.mark.parametrize("dropped", [False, True])
@pytest.mark.parametrize("shared", [False, True], ids=["own inputs", "shared input"])
@pytest.mark.parametrize(("groups", "per", "live"), [(1, 1, None), (3, 64, 64), (4, 128, 128), (5, 90, None)])
def test_what_it_learns_of_distributions_is_the_cross_entropy_of_its_outputs(
    monkeypatch: pytest.MonkeyPatch, dropped: bool, shared: bool, groups: int, per: int, live: int | None
) -> None:
    """Gradients too: those of the numbers, of the first rows of the input, and of what is beside it."""
    net, rows, noise = stack(2, 3, 0, [17, 64, 24, 101]), groups * per, torch.Generator().manual_seed(7)
    x, beside = (
        torch.randn(2, *([] if shared else [3]), rows, n, generator=noise, requires_grad=True) for n in (12, 5)
    )
    target = torch.randn(2, groups, per, 101, generator=noise).softmax(-1)
    target[:, :, ::3] = 0  # as behind the end of an episode
    weights, pull = torch.arange(1.0, groups + 1), torch.tensor([0.1, 3.0])
    drop = Draws.fresh([1, 2], "dropout").dropout(0.3, 3, rows + 5, 64) if dropped else None
    inputs = [net.numbers, x, beside]

    def losses_and_slopes() -> list[Tensor]:
        loss = net.cross_entropy(x, target, weights, beside, drop, live)
        return [loss, *torch.autograd.grad(loss, inputs, pull)]

    ours = losses_and_slopes()
    with torch.no_grad():
        torch.testing.assert_close(net.cross_entropy(x, target, weights, beside, drop), ours[0], rtol=1e-6, atol=0)
    assert live is None or not ours[2][..., live:, :].any()
    monkeypatch.setattr(kernels, "_library", lambda: None)
    loss, of_numbers, of_x, of_beside = losses_and_slopes()
    of_x[..., live or rows :, :] = 0  # nobody wants it, and torch's operations give it
    for own, theirs in zip(ours, (loss, of_numbers, of_x, of_beside), strict=True):
        torch.testing.assert_close(own, theirs, rtol=1e-3, atol=1e-4 * theirs.abs().max().item())


@pytest.mark.parametrize("heads", [1, 4])
def test_threads_change_nothing(heads: int) -> None:
    net, plain = (stack(2, heads, simnorm, [17, 128, 128, 8]) for simnorm in (4, 0))
    x = torch.randn(2, 1, 1100, 17)
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            y = net(x)
            loss = plain.cross_entropy(x, torch.full((2, 11, 100, 8), 0.125), torch.ones(11))
            found.append([y, loss, *gradients(y, list(net.parameters())), *gradients(loss, list(plain.parameters()))])
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_rows_without_a_gradient_are_left_out_of_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the higher of two value heads has none; the gradient lies in memory as no product left it."""
    net, x = stack(2, 2, 0), torch.randn(2, 2, 150, 17, requires_grad=True)
    inputs = [x, *net.parameters()]

    def slopes() -> list[Tensor]:
        y = net(x)
        lower = y.mean(-1, keepdim=True).argmin(1, keepdim=True)
        kept = torch.zeros_like(y[..., :1]).scatter(1, lower, 1.0)
        kept[:, :, 64:128] = 0
        pull = (torch.randn(8, 150, 2, 2, generator=torch.Generator().manual_seed(3)).permute(3, 2, 1, 0)) * kept
        return list(torch.autograd.grad(y, inputs, pull))

    ours = slopes()
    assert not ours[0][:, :, 64:128].any()
    monkeypatch.setattr(kernels, "_library", lambda: None)
    for own, theirs in zip(ours, slopes(), strict=True):
        torch.testing.assert_close(own, theirs, rtol=1e-3, atol=3e-4)


def test_mish_of_extreme_values() -> None:
    """Far out on both sides, through a norm that passes its input on: two values become -1 and 1, then the shift."""
    net = stack(1, 7, 0, [2, 2, 2])
    shift = torch.tensor([-200.0, -30.0, -5.0, 0.0, 5.0, 30.0, 200.0]).view(1, 7, 1, 1)
    with torch.no_grad():
        first, last = net.parts()
        for layer in (first, last):
            layer.weight.copy_(torch.eye(2))
            layer.bias.zero_()
        first.scale.fill_(1)
        first.shift.copy_(shift.expand(1, 7, 1, 2))
        found = net(torch.tensor([-1e4, 1e4]).expand(1, 7, 1, 2))
    torch.testing.assert_close(found, F.mish(shift + torch.tensor([-1.0, 1.0])).view(1, 7, 1, 2), rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize("simnorm", [0, 4])
def test_nan_and_infinity_stay_in_their_row(simnorm: int) -> None:
    net, x = stack(1, 2, simnorm), torch.zeros(1, 1, 3, 17)
    x[..., :8] = 1
    x[0, 0, 0, 3], x[0, 0, 1, 3] = torch.nan, torch.inf
    for y in (net(x), net(x.requires_grad_())):
        assert y.isnan().all(-1).tolist() == [[[True, True, False]] * 2]


def test_neighbours_that_are_chosen_are_those_of_every_seed() -> None:
    net, x = stack(2, 3, 0), torch.randn(2, 1, 40, 17)
    everything, chosen = net(x), net(x, heads=slice(1, 3))
    assert torch.equal(chosen, everything[:, 1:3])
    slope = net.parts(torch.autograd.grad(chosen.sum(), [net.numbers])[0])[-1].weight
    assert slope.flatten(2).any(-1).tolist() == [[False, True, True]] * 2
    with torch.no_grad():
        assert torch.equal(net(x, heads=slice(1, 3)), chosen)


def test_heads_that_are_chosen_get_their_gradient_alone() -> None:
    net, x, which = stack(2, 3, 0), torch.randn(2, 1, 40, 17), torch.tensor([[0, 2], [1, 0]])
    everything, chosen = net(x), net(x, heads=which)
    assert torch.equal(chosen[0], everything[0, [0, 2]])
    assert torch.equal(chosen[1], everything[1, [1, 0]])
    slope = net.parts(torch.autograd.grad(chosen.sum(), [net.numbers])[0])[-1].weight
    assert slope.flatten(2).any(-1).tolist() == [[True, False, True], [True, True, False]]


def test_only_the_gradients_that_are_asked_for_are_given() -> None:
    net, x = stack(1, 2, 0), torch.randn(1, 1, 8, 17, requires_grad=True)
    (wanted,) = gradients(net(x), [x])
    net.requires_grad_(False)
    (through,) = gradients(net(x), [x])
    assert torch.equal(through, wanted)
    net.requires_grad_(True)
    net(x.detach()).sum().backward()
    assert x.grad is None
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_it_can_be_differentiated_twice_over_the_same_graph() -> None:
    """As the norms of every loss's gradient are, on logging steps."""
    net, x = stack(2, 2, 4), torch.randn(2, 1, 70, 17)
    y, inputs = net(x), list(net.parameters())
    first, second = (torch.autograd.grad(y[..., 0].sum(), inputs, retain_graph=True) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_seed_is_computed_alone_as_beside_others_even_diverged_ones() -> None:
    three, x = stack(3, 2, 4), torch.randn(3, 1, 128, 17)
    x[0] = torch.nan
    together, inputs = three(x), list(three.parameters())
    slopes = gradients(together, inputs)
    for seed in (1, 2):
        alone = stack(1, 2, 4)
        with torch.no_grad():
            for own, theirs in zip(alone.parameters(), inputs, strict=True):
                own.copy_(theirs[seed : seed + 1])
        y = alone(x[seed : seed + 1])
        assert torch.equal(y[0], together[seed])
        for own, beside in zip(gradients(y, list(alone.parameters())), slopes, strict=True):
            assert torch.equal(own[0], beside[seed])
