"""Where the triton backend says that it works, and the sentence it gives where it does not."""

import builtins

import pytest
import torch

from bt_kernels import barlow_twins_loss
from bt_kernels.backends import triton
from bt_kernels.backends.registry import choose_backend
from bt_kernels.backends.stages import Availability

GPU = torch.device("cuda", 0)


@pytest.fixture
def gpu(monkeypatch):
    """A GPU of compute capability 9.0 as far as Triton's availability goes."""
    monkeypatch.setattr(triton, "OPS", Availability(True, "Triton"))
    monkeypatch.setattr(triton, "why_not_on", lambda device: None)


def test_not_on_the_cpu(monkeypatch):
    monkeypatch.setattr(triton, "INTERPRETED", False)
    with pytest.raises(RuntimeError, match="'triton' cannot run on device cpu: it takes embeddings on a GPU"):
        barlow_twins_loss(torch.zeros(4, 3), torch.zeros(4, 3), backend="triton")


def test_auto_takes_it_on_a_gpu_but_not_for_float64(gpu):
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        assert choose_backend("auto", GPU, dtype) == "triton"
    assert choose_backend("auto", GPU, torch.float64) == "eager"
    with pytest.raises(RuntimeError, match="it takes float32, bfloat16 and float16, not torch.float64"):
        choose_backend("triton", GPU, torch.float64)


def test_not_on_other_devices(gpu):
    assert "not on xpu" in triton.availability(torch.device("xpu"), torch.float32).reason


def test_auto_never_takes_the_interpreter(monkeypatch):
    monkeypatch.setattr(triton, "OPS", Availability(True, "Triton"))
    monkeypatch.setattr(triton, "INTERPRETED", True)
    assert choose_backend("triton", torch.device("cpu")) == "triton"
    assert choose_backend("auto", torch.device("cpu")) != "triton"


def test_old_gpu(monkeypatch):
    monkeypatch.setattr(triton, "OPS", Availability(True, "Triton"))
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert triton.availability(GPU, torch.float32) == (False, "it needs compute capability 8.0 or newer, not 7.5")
    assert choose_backend("auto", GPU) == "eager"


def test_triton_that_cannot_launch(monkeypatch):
    """Here it is the driver that is missing, elsewhere it may be a compiler: the reason is Triton's own."""
    if torch.cuda.is_available():
        pytest.skip("there is a driver here")
    monkeypatch.setattr(triton, "OPS", Availability(True, "Triton"))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    ok, reason = triton.availability(GPU, torch.float32)
    assert not ok and "cannot launch kernels here: " in reason


VERSIONS = [("3.5.1", "too old: 3.6"), ("3.6.0", "Triton 3.6.0"), ("4.0.0+git", "4.0")]


@pytest.mark.parametrize("version, expected", VERSIONS)
def test_version(monkeypatch, version, expected):
    import triton as package

    monkeypatch.setattr(package, "__version__", version)
    ok, reason = triton.load_ops()
    assert ok == ("too old" not in expected) and expected in reason


def test_without_triton(monkeypatch):
    def no_triton(name, *rest, original=builtins.__import__):
        if name == "triton":
            raise ImportError("No module named 'triton'")
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", no_triton)
    ok, reason = triton.load_ops()
    assert not ok and "pip install triton" in reason
