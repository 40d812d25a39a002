"""Peak memory of forward and backward, gradients included: never a D x D matrix where N < D."""

import json

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from bt_kernels import barlow_twins_loss
from bt_kernels.backends.eager import BLOCK_ROWS
from bt_kernels.backends.registry import BACKENDS
from bt_kernels.backends.stages import Batch, OutputGradients, Statistics
from bt_kernels.options import LossOptions
from tests.support.inputs import views

pytestmark = pytest.mark.runs_on("cpu")

MEGABYTE = 2**20
# PyTorch's and the BLAS's own bookkeeping, panels per thread, statistics: nothing that grows with N D.
CONSTANT = 8 * MEGABYTE


def peak_bytes(run, folder) -> int:
    """Largest sum of what was allocated since the start, as torch's profiler saw it. The C++ ops' workspaces come
    from torch's allocator and are in it."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    trace = folder / "trace.json"
    profiler.export_chrome_trace(str(trace))
    events = [e for e in json.loads(trace.read_text())["traceEvents"] if e.get("name") == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda event: event["ts"]):
        now += event["args"]["Bytes"]
        peak = max(peak, now)
    return peak


def test_the_probe_sees_what_is_allocated(tmp_path):
    assert 4 * MEGABYTE <= peak_bytes(lambda: torch.zeros(MEGABYTE) + 1, tmp_path) <= 9 * MEGABYTE
    d = 1024
    assert peak_bytes(lambda: torch.zeros(d, d, dtype=torch.float64), tmp_path) >= 8 * d * d


def allowed_bytes(backend, formulation, z_a, z_b) -> int:
    """Three times the embeddings for the C++ ops. Plain PyTorch holds each intermediate, five times, and three
    panels of C where it streams it."""
    n, d = z_a.shape
    embeddings = z_a.nbytes + z_b.nbytes
    if backend != "eager":
        return 3 * embeddings + CONSTANT
    panels = 3 * BLOCK_ROWS * d * z_a.itemsize if formulation == "correlation" and n < d else 0
    return 5 * embeddings + CONSTANT + panels


# gram is not for N > D, where its two N x N matrices are larger than the embeddings.
CASES = [
    *(("gram", shape) for shape in ((64, 8192), (256, 4096), (512, 512))),
    *(("correlation", shape) for shape in ((64, 4096), (512, 512), (1024, 256), (8192, 128))),
]


@pytest.mark.parametrize("name, shape", CASES, ids=str)
def test_peak_is_bounded_by_the_embeddings(backend, name, shape, tmp_path):
    z_a, z_b = (z.requires_grad_() for z in views(*shape))

    def run():
        torch.autograd.grad(barlow_twins_loss(z_a, z_b, backend=backend, formulation=name), (z_a, z_b))

    allowed = allowed_bytes(backend, name, z_a, z_b)
    if shape[0] < shape[1] // 4:
        assert allowed < z_a.itemsize * shape[1] ** 2  # one D x D matrix would not go unnoticed
    assert peak_bytes(run, tmp_path) <= allowed


@pytest.mark.parametrize("name, shape", CASES, ids=str)
def test_the_loss_alone_keeps_nothing(backend, name, shape, tmp_path):
    z_a, z_b = views(*shape)
    peak = peak_bytes(lambda: barlow_twins_loss(z_a, z_b, backend=backend, formulation=name), tmp_path)
    assert peak <= allowed_bytes(backend, name, z_a, z_b) - z_a.nbytes - z_b.nbytes


@pytest.mark.parametrize("name, shape", [("gram", (256, 4096)), ("correlation", (1024, 1024))], ids=str)
def test_peak_of_the_halves(backend, name, shape, tmp_path):
    """They hold no more than the whole does: neither y nor C twice, and of K the packed triangles beside it."""
    stages, options = BACKENDS[backend], LossOptions()
    z_a, z_b = views(*shape)
    (n, d), dtype = shape, z_a.dtype
    statistics = Statistics(*torch.ones(3, 2, d, dtype=torch.float64))

    def run():
        if name == "gram":
            triangles, sums, kept = stages.gram_partial(z_a, z_b, options, None, True)
            terms, of_all = stages.gram_total(triangles, sums, n, dtype, options, True)
        else:
            c, kept = stages.correlation_partial(z_a, z_b, statistics, n, True)
            terms, of_all = stages.correlation_total(c, n, dtype, options, True)
            assert of_all[1].data_ptr() == c.data_ptr()
        gradients = OutputGradients(torch.ones_like(terms[0]), None, None)
        backward = getattr(stages, f"{name}_backward")
        backward(gradients, z_a, z_b, (*kept, *of_all), options, Batch(n), (True, True))

    assert peak_bytes(run, tmp_path) <= allowed_bytes(backend, name, z_a, z_b)


def test_wide_embeddings_fit(backend, tmp_path):
    """C would be 17 GB in float32."""
    z_a, z_b = (torch.randn(32, 65536, generator=torch.Generator().manual_seed(seed)) for seed in range(2))
    z_a.requires_grad_(), z_b.requires_grad_()

    def run():
        loss = barlow_twins_loss(z_a, z_b, backend=backend, formulation="gram")
        assert all(g.isfinite().all() for g in torch.autograd.grad(loss, (z_a, z_b)))

    assert peak_bytes(run, tmp_path) <= allowed_bytes(backend, "gram", z_a, z_b)
