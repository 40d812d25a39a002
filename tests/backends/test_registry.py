"""Which backend runs: the fastest that works, or the one asked for, or an error with the reason."""

import shutil
import warnings
from pathlib import Path

import pytest
import torch

import bt_kernels
from bt_kernels import Availability, available_backends, barlow_twins_loss, build_report, once
from bt_kernels.backends import cpu, ops, registry, triton
from bt_kernels.backends.registry import BACKENDS, choose_backend
from bt_kernels.options import BACKENDS as NAMES

pytestmark = pytest.mark.runs_on("cpu")

CPU = torch.device("cpu")
GPU = torch.device("cuda", 0)
PASSED_OVER = 'backend="auto" passes over {!r}, which is installed here and does not work: '


class Unavailable:
    def __init__(self, fault: bool = False) -> None:
        self.fault = fault

    def availability(self, device, dtype):
        return Availability(False, f"no such machine as {device}", self.fault)


@pytest.fixture(autouse=True)
def nobody_was_warned(monkeypatch):
    monkeypatch.setattr(once, "_said", set())


def test_every_backend_can_be_asked_for():
    assert set(NAMES) == {"auto", *BACKENDS}


@pytest.mark.parametrize("device", ["cpu", "meta", "cuda"])
def test_every_backend_gives_a_reason(device):
    found = available_backends(device)
    assert set(found) == set(BACKENDS)
    for ok, reason, fault in found.values():
        assert isinstance(ok, bool) and reason and "\n" not in reason and not (ok and fault)


def test_they_come_in_the_order_that_auto_tries(monkeypatch):
    order = list(available_backends("cpu"))
    assert order[:2] == ["cpu", "eager"]
    for name in order[:2]:
        first = next(name for name, found in available_backends("cpu").items() if found.ok)
        assert choose_backend("auto", CPU) == first
        monkeypatch.setitem(BACKENDS, name, Unavailable())
    with pytest.raises(RuntimeError, match="backend 'eager' cannot run on device cpu: no such machine as cpu"):
        choose_backend("auto", CPU)
    monkeypatch.setattr(registry, "why_not_here", lambda device: None)
    assert list(available_backends("cuda", torch.float64))[:2] == ["triton", "eager"]


def test_without_a_device_it_is_the_accelerator_or_the_cpu(monkeypatch):
    assert available_backends(None) == available_backends(registry.as_device(None))
    for there, device in ((True, GPU), (False, CPU)):
        monkeypatch.setattr(torch.accelerator, "is_available", lambda there=there: there)
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: GPU)
        assert registry.as_device(None) == device
    assert available_backends() == available_backends("cpu") == available_backends(CPU)


@pytest.mark.parametrize("device", [f"cuda:{torch.cuda.device_count() + 1}", "vulkan"])
def test_a_device_that_is_not_here(device):
    for ok, reason, fault in available_backends(device).values():
        assert not ok and not fault and reason.startswith(f"torch finds no device {device} here: ")
        assert ". " not in reason


@pytest.mark.parametrize(
    "arguments, kind, message",
    [
        (("gpu",), ValueError, "device must be one of torch's, such as 'cpu' or 'cuda:0', got 'gpu'"),
        ((0,), TypeError, "device must be a torch.device, its name or None, got 0"),
        (("cpu", torch.int64), TypeError, "dtype must be float64, float32, bfloat16 or float16, got torch.int64"),
        (("cpu", "float32"), TypeError, "dtype must be float64, float32, bfloat16 or float16, got 'float32'"),
    ],
    ids=str,
)
def test_what_cannot_be_asked(arguments, kind, message):
    with pytest.raises(kind) as raised:
        available_backends(*arguments)
    assert str(raised.value) == message


def test_eager_works_anywhere():
    assert choose_backend("auto", torch.device("meta")) == "eager"
    assert choose_backend("eager", torch.device("meta")) == "eager"


def test_asked_for_by_name_works_or_raises(monkeypatch):
    for name, found in available_backends(CPU).items():
        if found.ok:
            assert choose_backend(name, CPU) == name
    monkeypatch.setitem(BACKENDS, "cpu", Unavailable())
    z = torch.zeros(4, 3)
    with pytest.raises(RuntimeError, match="backend 'cpu' cannot run on device cpu: no such machine as cpu"):
        barlow_twins_loss(z, z, backend="cpu")
    assert barlow_twins_loss(z, z, backend="auto").isfinite()


def warned_by(call) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [str(warning.message) for warning in caught if issubclass(warning.category, RuntimeWarning)]


@pytest.mark.parametrize("compiled", [False, True])
def test_auto_warns_once_of_a_backend_that_should_work(monkeypatch, compiled):
    torch._dynamo.reset()
    monkeypatch.setitem(BACKENDS, "cpu", Unavailable(fault=True))
    loss = torch.compile(barlow_twins_loss, fullgraph=True, backend="aot_eager") if compiled else barlow_twins_loss
    z = torch.randn(4, 3)
    assert warned_by(lambda: [loss(z, z) for _ in range(2)]) == [
        PASSED_OVER.format("cpu") + "no such machine as cpu"
    ]
    assert warned_by(lambda: barlow_twins_loss(z, z.clone())) == []
    torch._dynamo.reset()


def test_what_is_no_fault_or_asked_for_by_name_is_silent(monkeypatch):
    monkeypatch.setitem(BACKENDS, "cpu", Unavailable())
    assert warned_by(lambda: choose_backend("auto", CPU)) == []
    monkeypatch.setitem(BACKENDS, "cpu", Unavailable(fault=True))
    assert warned_by(lambda: available_backends("cpu")) == []
    with pytest.raises(RuntimeError):
        choose_backend("cpu", CPU)
    assert choose_backend("eager", CPU) == "eager"


BUILT = {"compiler": "c++"}
LEFT_OUT = {"cpp_missing": "no C++ compiler was found"}
LIBRARIES = [
    ("damaged", BUILT, "file too short"),
    ("of something else", BUILT, "does not implement bt_kernels_tests::gram_forward"),
    ("gone", BUILT, "start Python in another folder if those are the sources, or install the package again"),
    ("left out", LEFT_OUT, None),
    ("never built", {}, None),
]


@pytest.mark.parametrize("state, report, fault", LIBRARIES, ids=[state for state, *_ in LIBRARIES])
def test_the_cpp_library_that_should_be_there(monkeypatch, tmp_path, state, report, fault):
    """Damaged, without its symbols or lost: auto warns. Where it was left out, the build has said so."""
    if state == "damaged":
        (tmp_path / "_C.abi3.so").write_text("")
    if state == "of something else":
        host = build_report.host_module()
        if host is None:
            pytest.skip("there is no other library here")
        shutil.copy(host.__file__, tmp_path / "_C.abi3.so")
        monkeypatch.setattr(cpu, "NAMESPACE", "bt_kernels_tests")  # those of the package are implemented here
        ops.define(cpu.NAMESPACE, cpu.KEPT)
    monkeypatch.setattr(cpu, "FOLDER", tmp_path)
    monkeypatch.setattr(build_report, "read_build_report", lambda: report)
    found = cpu.load_library()
    assert not found.ok and found.fault == (fault is not None)
    monkeypatch.setattr(cpu, "LIBRARY", found)
    warned = warned_by(lambda: choose_backend("auto", CPU))
    assert [PASSED_OVER.format("cpu") + found.reason] * found.fault == warned
    if fault is not None:
        assert fault in found.reason and found.reason.endswith(("beside this torch", "install the package again"))


def test_a_gpu_on_which_triton_cannot_launch(monkeypatch):
    found = Availability(False, "Triton cannot launch kernels here: no compiler", fault=True)
    monkeypatch.setattr(triton, "load", lambda: Availability(True, "Triton"))
    monkeypatch.setattr(triton, "on_gpu", lambda device: found)
    assert warned_by(lambda: choose_backend("auto", GPU)) == [PASSED_OVER.format("triton") + found.reason]
    assert warned_by(lambda: choose_backend("auto", GPU, torch.float64)) == []


def test_the_public_name_is_the_registrys():
    assert bt_kernels.available_backends is registry.available_backends
    assert Path(bt_kernels.__file__).parent == cpu.FOLDER
