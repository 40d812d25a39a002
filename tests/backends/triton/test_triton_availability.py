"""Where the triton backend says that it works, and the sentence it gives where it does not."""

import sys
import types

import pytest
import torch

from bt_kernels import barlow_twins_loss
from bt_kernels.backends import triton
from bt_kernels.backends.registry import choose_backend
from bt_kernels.backends.stages import Availability

GPU = torch.device("cuda", 0)
WORKS = Availability(True, "Triton")


@pytest.fixture
def installed(monkeypatch):
    """A Triton that can be imported."""
    monkeypatch.setattr(triton, "load", lambda: WORKS)


@pytest.fixture
def gpu(monkeypatch, installed):
    """A GPU of compute capability 9.0 as far as Triton's availability goes."""
    monkeypatch.setattr(triton, "on_gpu", lambda device: None)


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


def test_auto_never_takes_the_interpreter(monkeypatch, installed):
    monkeypatch.setattr(triton, "INTERPRETED", True)
    assert choose_backend("triton", torch.device("cpu")) == "triton"
    assert choose_backend("auto", torch.device("cpu")) != "triton"


def test_is_not_imported_for_what_it_does_not_take(monkeypatch):
    monkeypatch.setattr(triton, "INTERPRETED", False)
    monkeypatch.setattr(triton, "load", lambda: pytest.fail("imported"))
    assert not triton.availability(torch.device("cpu"), torch.float32).ok
    assert not triton.availability(torch.device("xpu"), torch.float32).ok
    assert not triton.availability(GPU, torch.float64).ok


def test_old_gpu(monkeypatch, installed):
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    found = triton.availability(GPU, torch.float32)
    assert found == Availability(False, "it needs compute capability 8.0 or newer, not 7.5")
    assert choose_backend("auto", GPU) == "eager"


class NoDriver:
    tried = 0

    @property
    def active(self):
        self.tried += 1
        raise RuntimeError("Failed to find C compiler.\nPlease specify one.")


def test_triton_that_cannot_launch(monkeypatch, installed):
    """A driver may be missing or a compiler: the reason is Triton's own. It is asked once, not at every call."""
    import triton as package

    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(package.runtime, "driver", NoDriver())
    triton.launching.cache_clear()
    for _ in range(2):
        ok, reason, fault = triton.availability(GPU, torch.float32)
        assert not ok and fault and "\n" not in reason
        assert "cannot launch kernels here: Failed to find C compiler; it needs the GPU's driver" in reason
    assert package.runtime.driver.tried == 1
    triton.launching.cache_clear()


@pytest.fixture
def load():
    """triton.load, as at the first need."""
    triton.load.cache_clear()
    yield triton.load
    triton.load.cache_clear()


VERSIONS = [
    ("3.5.1", "too old: 3.6 or newer is needed, which comes with torch 2.10; update torch"),
    ("3.6.0", "Triton 3.6.0"),
    ("4.0.0+git", "4.0"),
]


@pytest.mark.parametrize("version, expected", VERSIONS)
def test_version(monkeypatch, load, version, expected):
    import triton as package

    monkeypatch.setattr(package, "__version__", version)
    ok, reason, fault = load()
    assert ok == ("too old" not in expected) and fault != ok and expected in reason


def test_without_triton(monkeypatch, load):
    """Which is no fault."""
    monkeypatch.setitem(sys.modules, "triton", None)
    assert load() == Availability(False, "Triton is not installed (pip install triton)")


def test_triton_that_cannot_be_imported(monkeypatch, load, tmp_path):
    for module in [name for name in sys.modules if name.split(".")[0] == "triton"]:
        monkeypatch.delitem(sys.modules, module)
    (tmp_path / "triton.py").write_text("raise OSError('libtriton.so: file too short\\nand more')")
    monkeypatch.syspath_prepend(tmp_path)
    ok, reason, fault = load()
    assert not ok and fault
    assert reason.startswith("Triton cannot be imported: OSError: libtriton.so: file too short; install ")


def test_something_else_of_that_name(monkeypatch, load):
    monkeypatch.setitem(sys.modules, "triton", types.ModuleType("triton"))
    ok, reason, fault = load()
    assert not ok and fault and "has no attribute '__version__'" in reason
