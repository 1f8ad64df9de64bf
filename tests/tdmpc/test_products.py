import pytest
import torch

from tdmpc import products
from tdmpc.products import product

has_onednn = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch without oneDNN")


@pytest.fixture(params=["batched", pytest.param("one by one", marks=has_onednn)])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways, whatever this processor would choose."""
    monkeypatch.setattr(products, "_one_by_one", lambda: request.param == "one by one")
    monkeypatch.setattr(products, "WORTH_A_CALL", 0)
    return str(request.param)


@pytest.mark.parametrize("shared", [False, True], ids=["own inputs", "shared input"])
@pytest.mark.parametrize("biased", [False, True])
def test_it_is_the_product_and_so_are_its_gradients(way: str, shared: bool, biased: bool) -> None:
    x = torch.randn(2, 1 if shared else 3, 33, 17, requires_grad=True)
    weight, bias = torch.randn(2, 3, 17, 12, requires_grad=True), torch.randn(2, 3, 1, 12, requires_grad=True)
    out, pull = product(x, weight, bias if biased else None), torch.randn(2, 3, 33, 12)
    expected = torch.einsum("sdni,seio->seno", x, weight) if shared else torch.einsum("seni,seio->seno", x, weight)
    expected = expected + bias if biased else expected
    torch.testing.assert_close(out, expected)
    wanted = [x, weight, bias] if biased else [x, weight]
    for found, right in zip(
        torch.autograd.grad(out, wanted, pull), torch.autograd.grad(expected, wanted, pull), strict=True
    ):
        torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-4)


def test_a_seed_is_multiplied_alone_as_beside_others_even_diverged_ones(way: str) -> None:
    x, weight, bias = torch.randn(3, 2, 128, 96), torch.randn(3, 2, 96, 64), torch.randn(3, 2, 1, 64)
    x[0] = torch.nan
    together = product(x, weight, bias)
    for seed in (1, 2):
        alone = product(x[seed : seed + 1], weight[seed : seed + 1], bias[seed : seed + 1])
        assert torch.equal(together[seed], alone[0])


@has_onednn
def test_small_products_and_other_types_go_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_one_by_one", lambda: True)
    calls: list[torch.Size] = []
    each = products._each
    monkeypatch.setattr(products, "_each", lambda x, *rest: calls.append(x.shape) or each(x, *rest))  # type: ignore[func-returns-value]
    with torch.no_grad():
        product(torch.randn(1, 1, 8, 8), torch.randn(1, 1, 8, 8))
        product(torch.randn(1, 1, 512, 128, dtype=torch.float64), torch.randn(1, 1, 128, 128, dtype=torch.float64))
        assert calls == []
        product(torch.randn(1, 1, 512, 128), torch.randn(1, 1, 128, 128))
    assert calls == [torch.Size([1, 1, 512, 128])]


def test_torch_alone_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEPS_KERNELS", "torch")
    assert not products._one_by_one.__wrapped__()
