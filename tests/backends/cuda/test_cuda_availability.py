"""Where the cuda backend says that it works, and the sentence it gives where it does not."""

import json

import pytest
import torch

from bt_kernels import barlow_twins_loss, build_report
from bt_kernels.backends import cuda
from bt_kernels.backends.cuda.architectures import runs_on
from bt_kernels.backends.registry import AUTO, choose_backend
from bt_kernels.backends.stages import Availability

GPU = torch.device("cuda", 0)


def report(monkeypatch, tmp_path, **built):
    path = tmp_path / "report.json"
    path.write_text(json.dumps(built))
    monkeypatch.setattr(build_report, "REPORT", path)


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    """Makes a GPU of that compute capability and kernels built for those architectures, for availability alone."""

    def make(capability=(9, 0), built=("8.0", "9.0a"), toolkit="13.0", of_torch="13.0"):
        report(monkeypatch, tmp_path, cuda=toolkit, cuda_architectures=list(built))
        monkeypatch.setattr(torch.version, "hip", None)
        monkeypatch.setattr(torch.version, "cuda", of_torch)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
        cuda.on_gpu.cache_clear()

    monkeypatch.setattr(cuda, "LIBRARY", Availability(True, "CUDA kernels"))
    monkeypatch.setattr(cuda, "EMULATED", None)
    yield make
    cuda.on_gpu.cache_clear()


def reason(device=GPU, dtype=torch.float32, fault=False):
    ok, why_not, is_fault = cuda.availability(device, dtype)
    assert not ok and is_fault == fault
    return why_not


def test_works_for_its_dtypes(gpu):
    gpu()
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        assert cuda.availability(GPU, dtype) == Availability(True, "CUDA kernels")
        assert choose_backend("cuda", GPU, dtype) == "cuda"
    with pytest.raises(RuntimeError, match="it takes float32, bfloat16 and float16, not torch.float64"):
        choose_backend("cuda", GPU, torch.float64)


def test_auto_does_not_take_it_before_it_is_measured():
    assert "cuda" not in AUTO["cuda"]


def test_not_on_other_devices(gpu):
    gpu()
    with pytest.raises(
        RuntimeError, match="'cuda' cannot run on device cpu: it takes .* on a CUDA GPU, not on cpu"
    ):
        barlow_twins_loss(torch.zeros(4, 3), torch.zeros(4, 3), backend="cuda")
    assert "not on xpu" in reason(torch.device("xpu"))


def test_not_built(monkeypatch, tmp_path):
    """The reason is setup.py's."""
    report(monkeypatch, tmp_path, cuda_missing="nvcc was on holiday")
    monkeypatch.setattr(cuda, "built_libraries", list)
    assert cuda.load_built_library() == Availability(False, "nvcc was on holiday")


def test_library_that_does_not_load(tmp_path):
    library = tmp_path / "_CUDA.abi3.so"
    library.write_text("not a library")
    ok, why_not, fault = cuda.load_library(library)
    assert not ok and fault and why_not.startswith(f"_CUDA.abi3.so does not load with torch {torch.__version__}: ")
    assert "file too short" in why_not or "invalid ELF header" in why_not


def test_torch_without_cuda(gpu):
    gpu(of_torch=None)
    assert reason() == f"torch {torch.__version__} is a build without CUDA"


def test_rocm(gpu, monkeypatch):
    gpu()
    monkeypatch.setattr(torch.version, "hip", "6.4")
    assert "is a ROCm build" in reason()


def test_toolkit_of_another_major_version_than_torchs(gpu):
    gpu(toolkit="13.0", of_torch="12.8")
    why_not = reason(fault=True)
    assert "built with CUDA 13.0, torch " in why_not and "with CUDA 12.8: install the package again" in why_not
    gpu(toolkit="12.9", of_torch="12.8")
    assert cuda.availability(GPU, torch.float32).ok


def test_old_gpu(gpu):
    gpu(capability=(7, 5), built=("7.5", "8.0"))
    assert reason() == "it needs compute capability 8.0 or newer, not 7.5"


def test_kernels_built_for_other_gpus(gpu):
    gpu(capability=(8, 6), built=("9.0a", "12.0+PTX"))
    assert "built for 9.0a 12.0+PTX, none of which runs on compute capability 8.6: install" in reason(fault=True)


def test_looks_once_at_each_device(gpu, monkeypatch):
    gpu(capability=(8, 0))
    assert cuda.availability(GPU, torch.float32).ok
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert cuda.availability(GPU, torch.bfloat16).ok
    assert "not 7.5" in reason(torch.device("cuda", 1))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert "not 7.5" in reason(torch.device("cuda"))


def test_emulated_for_tests_is_not_taken_for_a_gpu(gpu, monkeypatch):
    gpu(capability=(7, 5))
    monkeypatch.setattr(cuda, "EMULATED", Availability(True, "CUDA kernels"))
    cpu = torch.device("cpu")
    assert cuda.availability(cpu, torch.float32) == Availability(
        True, "CUDA kernels, compiled for the CPU: for tests"
    )
    assert "not torch.float64" in reason(cpu, torch.float64)
    assert choose_backend("auto", cpu) != "cuda"
    assert "not 7.5" in reason()


RUNS = [
    ("8.0", (8, 0), True),
    ("8.0", (8, 6), True),  # the same major version, a later minor one
    ("8.6", (8, 0), False),
    ("8.9", (9, 0), False),
    ("8.0+PTX", (8, 9), True),
    ("8.0+PTX", (9, 0), False),  # compiled without clusters, for a GPU that is given some
    ("8.6+PTX", (12, 1), False),
    ("9.0+PTX", (12, 1), True),
    ("8.6+PTX", (8, 0), False),
    ("9.0a", (9, 0), True),
    ("9.0a", (10, 0), False),
    ("10.0", (10, 3), True),
    ("10.0", (11, 0), False),
    ("10.3a", (10, 3), True),
    ("10.0a", (10, 3), False),
    ("10.0f", (10, 3), True),
    ("10.0f", (12, 0), False),
    ("12.0+PTX", (12, 1), True),
    ("12.0+PTX", (10, 0), False),
]


@pytest.mark.parametrize("architecture, capability, expected", RUNS)
def test_runs_on(architecture, capability, expected):
    assert runs_on(architecture, capability) == expected


def test_library_without_a_report(gpu, monkeypatch):
    gpu()
    monkeypatch.setattr(cuda, "read_build_report", dict)
    assert "its build left no report" in reason(fault=True)
