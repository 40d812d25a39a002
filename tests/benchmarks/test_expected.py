"""The counted times: no kernel below its floor, and those in docs/design.md are the model's."""

import pytest

from benchmarks import expected, profile_gpu
from benchmarks.gpu.kernel_work import expected_work
from benchmarks.shared.cell import Cell
from benchmarks.shared.roofline import Ceilings
from tests.benchmarks.test_profile_gpu import needs_host

RATES = Ceilings(
    1e6 * expected.MATRIX * expected.CYCLES * expected.MULTIPROCESSORS, 1e6 * expected.MEMORY
)  # of a second


@needs_host
@pytest.mark.parametrize("kernels_of", expected.MODELS)
@pytest.mark.parametrize("n, d", [*expected.CELLS, (512, 8192), (256, 131072), (8192, 512), (4096, 4096)])
def test_no_kernel_is_expected_below_its_floor(n, d, kernels_of):
    cell = Cell(n, d, "bfloat16")
    for name, found in expected.expected(cell, kernels_of).items():
        work = expected_work(cell, 0).get(name)
        floor = 1e6 * work.seconds(RATES) if work else 0
        assert found.us > 0.99 * floor, name


@needs_host
def test_the_document_has_the_times_of_the_model():
    assert expected.main(["--check"]) == 0


def test_the_profile_shows_them_beside_the_time():
    entry = {"kernel": "finish", "launches": 1, "us": 3.0}
    assert profile_gpu.line({**entry, "expected_us": 3.4}).split()[-1] == "3.4"
    assert profile_gpu.line(entry).split()[-1] == "3.0"
