import subprocess
import sys

import pytest
import torch

from tdmpc.accel import kernels
from tdmpc.accel.adam import Adam

RATE, EPS = 3e-3, 1e-5


def trained(optimiser: type[torch.optim.Optimizer], start: torch.Tensor, grads: torch.Tensor) -> torch.nn.Parameter:
    """`start` after one step along each of `grads`."""
    parameter = torch.nn.Parameter(start.clone())
    made = optimiser([parameter], lr=RATE, eps=EPS)  # type: ignore[call-arg]
    for grad in grads:
        parameter.grad = grad.clone()
        made.step()
    return parameter


def test_two_steps_by_hand() -> None:
    # t = 1: m = 0.1 g, v = 0.001 g^2, so the step is lr g / (|g| + eps); t = 2 with gradient 0: m = 0.09 g,
    # v = 0.000999 g^2, divided by 1 - 0.9^2 = 0.19 and 1 - 0.999^2 = 0.001999
    after = trained(Adam, torch.tensor([1.0]), torch.tensor([[2.0], [0.0]]))
    first = RATE * 2 / (2 + EPS)
    second = RATE * (0.18 / 0.19) / ((0.003996 / 0.001999) ** 0.5 + EPS)
    assert after.item() == pytest.approx(1 - first - second, abs=2e-7)


@pytest.mark.slow
def test_the_steps_of_torch() -> None:
    start, grads = torch.randn(2, 3, 5, 101), torch.randn(20, 2, 3, 5, 101)
    torch.testing.assert_close(trained(Adam, start, grads), trained(torch.optim.Adam, start, grads))


@pytest.mark.parametrize("size", [1, 7, 101, 33_000])
def test_a_seed_steps_alone_as_beside_others_even_diverged_ones(size: int) -> None:
    start, grads = torch.randn(3, size), torch.randn(5, 3, size)
    grads[2:, 0] = torch.nan
    together = trained(Adam, start, grads)
    for seed in (1, 2):
        assert torch.equal(trained(Adam, start[seed], grads[:, seed]), together[seed])


def test_what_has_no_gradient_stays_and_begins_when_it_has_one() -> None:
    frozen, moving = (torch.nn.Parameter(torch.ones(4)) for _ in range(2))
    optimiser = Adam([{"params": [frozen]}, {"params": [moving], "lr": 2 * RATE}], lr=RATE, eps=EPS)
    moving.grad = torch.ones(4)
    optimiser.step()
    assert torch.equal(frozen, torch.ones(4))
    assert not optimiser.state[frozen]
    assert moving[0].item() == pytest.approx(1 - 2 * RATE, abs=1e-6)
    frozen.grad = torch.ones(4)
    optimiser.step()
    assert frozen[0].item() == pytest.approx(1 - RATE, abs=1e-6)
    assert optimiser.state[moving]["step"] == 2
    assert optimiser.state[frozen]["step"] == 1


@pytest.mark.skipif(not kernels.compiled(), reason="no C compiler")
def test_threads_change_nothing() -> None:
    start, grads, before = torch.randn(200_000), torch.randn(2, 200_000), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = trained(Adam, start, grads)
        torch.set_num_threads(2)
        assert torch.equal(trained(Adam, start, grads), alone)
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.skipif(not kernels.compiled(), reason="no C compiler")
def test_it_leaves_the_machinery_of_torch_compile_alone():
    """Its import would be a third of a run's start."""
    code = """
import sys, torch
from tdmpc.accel.adam import Adam
parameter = torch.nn.Parameter(torch.ones(3))
for optimiser in (Adam([parameter]), Adam([{"params": [parameter], "lr": 1.0}])):
    optimiser.zero_grad()
    parameter.sum().backward()
    optimiser.step()
    optimiser.load_state_dict(optimiser.state_dict())
assert "torch._dynamo" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
