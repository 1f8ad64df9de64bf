"""What the kernels compute does not depend on the C compiler: every one on PATH, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from tdmpc import math as tm
from tdmpc.accel import kernels
from tdmpc.accel import stack as accel_stack
from tdmpc.accel.adam import Adam
from tdmpc.agent import ops
from tdmpc.agent.ensemble_mlp import StackedMLP
from tdmpc.rng import Draws


@pytest.fixture(scope="module")
def compilers(load_script: Callable[[str], ModuleType]) -> list[str]:
    found: list[str] = load_script("benchmarks/compilers.py").on_path()
    return found or pytest.skip("no C compiler on this machine")


def draw(*shape: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def stacks() -> Iterator[Tensor]:
    """Networks of widths that are whole vectors and that are not, in registers and not; forward and backward."""
    bins = tm.bin_centres(101, 10.0)
    for sizes in ([5, 96], [3, 2, 20], [17, 64, 24, 8], [78, 128, 128, 100], [24, 256, 512, 101]):
        for simnorm in (0, 4)[: 2 if sizes[-1] % 4 == 0 else 1]:
            net = StackedMLP(3, sizes, range(2), "test", simnorm=simnorm)
            for parameter in net.parameters():
                parameter.data.add_(draw(*parameter.shape[1:], scale=0.3))
            x = draw(2, 3, 530, sizes[0]).requires_grad_()
            drop = Draws.fresh([1, 2], "dropout").dropout(0.3, 3, 530, sizes[1]) if len(sizes) > 2 else None
            y = net(x, dropout=drop)
            yield from (y, net(x.detach()[:, :, :1]))
            yield from torch.autograd.grad((y * draw(*y.shape)).sum(), [x, *net.parameters()])
            if sizes[-1] == 101:
                loss = net.cross_entropy(x, draw(2, 1, 530, 101, scale=3).softmax(-1), torch.ones(1))
                y = net(x, bins=bins)
                yield from (loss, y, *torch.autograd.grad(loss.sum() + (y * draw(*y.shape)).sum(), [x, net.numbers]))


def losses() -> Iterator[Tensor]:
    bins = tm.bin_centres(101, 10.0)
    logits, x, near = (
        draw(*shape).requires_grad_() for shape in ((2, 3, 4, 5, 101), (2, 3, 4, 37, 515), (2, 3, 37, 515))
    )
    loss = ops.cross_entropy(logits, draw(2, 4, 5, 101, scale=3).softmax(-1), torch.arange(1.0, 5))
    error, other = ops.squared_errors(x, near, torch.arange(1.0, 4))
    yield from (ops.two_hot(draw(2, 3000, scale=50), bins), ops.mean_two_hot(draw(2, 3, 400, scale=50), bins))
    yield from (loss, error, other, ops.two_hot_inverse(logits.detach(), bins))
    yield from torch.autograd.grad((loss * draw(2)).sum() + (error * draw(2) + other).sum(), [logits, x, near])
    for size in (1, 3, 21):
        raw = draw(2, 300, 2 * size, scale=4).requires_grad_()
        mean, log_std = ops.mean_and_log_std(raw, -10.0, 2.0)
        found = ops.gaussian(mean, log_std, draw(2, 300, size), 2.5, 4.0)
        yield from (mean, log_std, *found)
        yield from torch.autograd.grad(sum((part * draw(*part.shape)).sum() for part in found), [raw])


def optimisers() -> Iterator[Tensor]:
    for size in (1, 7, 101, 70_001):
        parameter = torch.nn.Parameter(draw(3, size))
        optimiser = Adam([parameter], lr=3e-3, eps=1e-5)
        for step in range(3):
            parameter.grad = draw(3, size) * (step + 1)
            yield ops.clip_per_seed([parameter.grad], 5.0)
            optimiser.step()
        yield parameter.detach()


@pytest.fixture
def built_by(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """An own cache, so that everything is compiled; and what a test leaves behind is forgotten."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    accel_stack._library.cache_clear()


@pytest.mark.usefixtures("built_by")
def test_every_compiler_gives_the_same_bits_with_any_number_of_threads(
    monkeypatch: pytest.MonkeyPatch, compilers: list[str]
) -> None:
    """Every compiler fuses and orders other operations if it may: then a copy of a loop differs from the next one."""
    expected: list[Tensor] = []
    for compiler in compilers:
        library = kernels.built_by(compiler)
        monkeypatch.setattr(kernels, "_library", lambda of=library: of)
        accel_stack._library.cache_clear()
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found = [x.detach().view(torch.int32) for part in (stacks, losses, optimisers) for x in part()]
            expected = expected or found
            differ = [n for n, (a, b) in enumerate(zip(found, expected, strict=True)) if not torch.equal(a, b)]
            assert not differ, f"{compiler} on {threads} threads differs from {compilers[0]} in results {differ}"


@pytest.mark.usefixtures("built_by")
def test_another_version_of_a_compiler_builds_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, compilers: list[str]
) -> None:
    """An upgrade leaves its path as it is."""
    monkeypatch.setattr(kernels, "FLAGS", ("-O0", "-march=native", "-fPIC"))  # in less time
    paths = set()
    for version in ("12.1", "12.2"):
        wrapper = tmp_path / "cc"
        wrapper.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo {version} && exit\nexec {compilers[0]} "$@"\n')
        wrapper.chmod(0o755)
        paths.add(kernels._build(str(wrapper)))
        assert kernels._build(str(wrapper)) in paths
    assert len(paths) == 2
