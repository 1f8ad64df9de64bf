"""A stack of layers as one node of the graph, against its layers one after another as torch operations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tdmpc import fused, products
from tdmpc.layers import StackedMLP
from tdmpc.streams import generator

pytestmark = pytest.mark.skipif(not fused.compiled(), reason="no C compiler on this machine: nothing is fused")

has_onednn = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch without oneDNN")


def stack(seeds: int, heads: int, simnorm: int) -> StackedMLP:
    """17 -> 24 -> 32 -> 8 with biases, scales and shifts that are no longer what they start at."""
    net = StackedMLP(heads, [17, 24, 32, 8], [generator(s, "test") for s in range(seeds)], simnorm=simnorm)
    noise = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn(parameter.shape[1:], generator=noise), alpha=0.3)
    return net


def gradients(y: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    weights = torch.randn(y.shape[1:], generator=torch.Generator().manual_seed(9)).expand(y.shape)
    return list(torch.autograd.grad((y * weights).sum(), inputs))


@pytest.mark.parametrize("one_by_one", [False, pytest.param(True, marks=has_onednn)], ids=["batched", "one by one"])
@pytest.mark.parametrize("simnorm", [0, 4])
@pytest.mark.parametrize("shared", [False, True], ids=["own inputs", "shared input"])
@pytest.mark.parametrize("dropped", [False, True])
def test_it_is_its_layers_one_after_another(
    monkeypatch: pytest.MonkeyPatch, one_by_one: bool, simnorm: int, shared: bool, dropped: bool
) -> None:
    monkeypatch.setattr(products, "_one_by_one", lambda: one_by_one)
    monkeypatch.setattr(products, "WORTH_A_CALL", 0)
    net = stack(2, 3, simnorm)
    x = torch.randn(2, 1 if shared else 3, 70, 17, requires_grad=True)
    drop = torch.tensor([0.0, 1.25]).repeat(2, 3, 70, 12) if dropped else None
    inputs = [x, *net.parameters()]
    found = net(x, dropout=drop)
    ours = gradients(found, inputs)
    with torch.no_grad():
        torch.testing.assert_close(net(x, dropout=drop), found, rtol=1e-5, atol=1e-6)
    monkeypatch.setattr(fused, "_library", lambda: None)
    expected = net(x, dropout=drop)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    for own, theirs in zip(ours, gradients(expected, inputs), strict=True):
        torch.testing.assert_close(own, theirs, rtol=1e-3, atol=2e-4)


def test_heads_that_are_chosen_get_their_gradient_alone() -> None:
    net, x, which = stack(2, 3, 0), torch.randn(2, 1, 40, 17), torch.tensor([[0, 2], [1, 0]])
    everything, chosen = net(x), net(x, which)
    assert torch.equal(chosen[0], everything[0, [0, 2]])
    assert torch.equal(chosen[1], everything[1, [1, 0]])
    (slope,) = torch.autograd.grad(chosen.sum(), [net.out.weight])
    assert slope.flatten(2).any(-1).tolist() == [[True, False, True], [True, True, False]]


def test_only_the_gradients_that_are_asked_for_are_given() -> None:
    net, x = stack(1, 2, 0), torch.randn(1, 1, 8, 17, requires_grad=True)
    (wanted,) = gradients(net(x), [x])
    net.requires_grad_(False)
    net.out.bias.requires_grad_(True)
    through, of_bias = gradients(net(x), [x, net.out.bias])
    torch.testing.assert_close(through, wanted)
    assert of_bias.shape == net.out.bias.shape
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
