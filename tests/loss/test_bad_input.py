"""Embeddings that the loss is not defined for: the right error with the right words, from every entry."""

import warnings

import numpy
import pytest
import torch

from bt_kernels import (
    BarlowTwinsLoss,
    available_backends,
    barlow_twins_loss,
    cross_correlation,
    cross_correlation_blocks,
)

GOOD = torch.zeros(4, 3)
with warnings.catch_warnings():  # both are prototypes to PyTorch
    warnings.simplefilter("ignore")
    NESTED, CSR = torch.nested.nested_tensor([torch.zeros(3), torch.zeros(2)]), GOOD.to_sparse_csr()
CASES = {
    "list": ([[1.0, 2.0]], GOOD, TypeError, "z_a must be a torch.Tensor of shape .N, D., got list"),
    "None": (GOOD, None, TypeError, "z_b must be a torch.Tensor .* got NoneType"),
    "numpy": (GOOD, numpy.zeros((4, 3)), TypeError, "z_b must be a torch.Tensor .* got ndarray"),
    "sparse": (GOOD.to_sparse(), GOOD, TypeError, "z_a must be a dense .* got layout torch.sparse_coo"),
    "nested": (NESTED, NESTED, TypeError, "z_a must be a dense .* got a nested tensor"),
    "sparse csr": (GOOD, CSR, TypeError, "z_b must be a dense .* got layout torch.sparse_csr"),
    **{
        str(dtype): (GOOD.to(dtype), GOOD.to(dtype), TypeError, f"z_a must be float64, .* got {dtype}")
        for dtype in (torch.int64, torch.uint8, torch.bool, torch.complex64, torch.float8_e4m3fn)
    },
    "0 dimensions": (torch.zeros(()), GOOD, ValueError, r"z_a must have shape \(N, D\), got \(\)"),
    "1 dimension": (GOOD, torch.zeros(3), ValueError, r"z_b must have shape \(N, D\), got \(3,\)"),
    "3 dimensions": (torch.zeros(4, 3, 1), GOOD, ValueError, r"z_a must have shape \(N, D\), got \(4, 3, 1\)"),
    "another N": (GOOD, torch.zeros(5, 3), ValueError, r"the same shape, got \(4, 3\) and \(5, 3\)"),
    "another D": (GOOD, torch.zeros(4, 1), ValueError, r"the same shape, got \(4, 3\) and \(4, 1\)"),
    "another dtype": (GOOD, GOOD.double(), TypeError, "the same dtype, got torch.float32 and torch.float64"),
    "another device": (GOOD, GOOD.to("meta"), ValueError, "the same device, got cpu and meta"),
    "N = 1": (torch.zeros(1, 3), torch.zeros(1, 3), ValueError, r"need N >= 2 samples, got shape .* \(1, 3\)"),
    "N = 0": (torch.zeros(0, 3), torch.zeros(0, 3), ValueError, r"need N >= 2 samples, got shape .* \(0, 3\)"),
    "D = 0": (torch.zeros(4, 0), torch.zeros(4, 0), ValueError, r"need D >= 1 features, got shape .* \(4, 0\)"),
    "empty": (torch.zeros(0, 0), torch.zeros(0, 0), ValueError, "need N >= 2 samples"),
}


@pytest.mark.parametrize(
    "function", [BarlowTwinsLoss(), barlow_twins_loss, cross_correlation, cross_correlation_blocks]
)
@pytest.mark.parametrize("z_a, z_b, error, message", CASES.values(), ids=CASES)
def test_refuses(function, z_a, z_b, error, message):
    with pytest.raises(error, match=message):
        function(z_a, z_b)


def test_refuses_for_every_backend(terms):
    for z_a, z_b, error, message in CASES.values():
        with pytest.raises(error, match=message):
            terms(z_a, z_b)


@pytest.mark.runs_on("cpu")
def test_cpu_backend_refuses_another_device():
    if not available_backends("cpu")["cpu"].ok:
        pytest.skip("the cpu backend is not there")
    z = torch.zeros(4, 3, device="meta")
    with pytest.raises(
        RuntimeError, match="backend 'cpu' cannot run on device meta: it takes embeddings on the CPU"
    ):
        barlow_twins_loss(z, z, backend="cpu")


def test_auto_runs_on_the_meta_device(formulation):
    """Shapes without data, as model summaries ask for them."""
    z = torch.zeros(4, 3, device="meta", requires_grad=True)
    loss = barlow_twins_loss(z, z, formulation=formulation)
    loss.backward()
    assert loss.shape == () and loss.device.type == "meta" and z.grad.shape == z.shape


def test_bad_input_is_refused_before_bad_devices():
    z = torch.zeros(1, 3, device="meta")
    with pytest.raises(ValueError, match="N >= 2"):
        barlow_twins_loss(z, z, backend="cpu")
