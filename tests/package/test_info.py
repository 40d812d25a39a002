"""python -m bt_kernels.info and the build report that it reads."""

import json
import warnings

import pytest
import torch

from bt_kernels import Availability, __version__, available_backends, build_report, info
from bt_kernels.backends import cpu, triton
from bt_kernels.backends.registry import choose_backend

pytestmark = pytest.mark.runs_on("cpu")


def test_prints_versions_and_every_backend(capsys):
    assert info.main([]) == 0
    text = capsys.readouterr().out
    assert __version__ in text and torch.__version__ in text
    cpu = torch.device("cpu")
    assert f"auto takes {choose_backend('auto', cpu)}" in text
    lines = {line.split()[0]: line for line in text.splitlines() if line.startswith("  ")}
    for name, (ok, reason, _) in available_backends(cpu).items():
        assert lines[name].split()[1] == ("ok" if ok else "no")
        assert reason in lines[name]


def test_says_which_backend_auto_takes_and_what_is_a_fault(monkeypatch, capsys):
    broken = Availability(False, "_C.abi3.so does not load", fault=True)
    fallen = Availability(False, "Triton cannot be imported: it fell", fault=True)
    monkeypatch.setattr(cpu, "LIBRARY", broken)
    monkeypatch.setattr(triton, "load", lambda: fallen)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        info.main([])
    lines = capsys.readouterr().out.splitlines()
    assert f"fault: {fallen.reason}" in lines
    at = lines.index("backends for embeddings on cpu; auto takes eager:")
    assert lines[at + 1].split(maxsplit=2) == ["cpu", "fault", broken.reason]
    assert lines[at + 2].split()[:2] == ["eager", "ok"]


def test_says_why_the_cpp_ops_were_left_out(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(build_report, "REPORT", tmp_path / "report.json")
    build_report.REPORT.write_text(json.dumps({"cpp_missing": "the compiler was on holiday"}))
    monkeypatch.setattr(cpu, "FOLDER", tmp_path)
    monkeypatch.setattr(cpu, "LIBRARY", cpu.load_library())
    info.main([])
    lines = [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines()]
    assert ["cpu", "no", "the compiler was on holiday"] in lines


def test_says_what_was_not_built(monkeypatch, capsys):
    monkeypatch.setattr(info, "host_module", lambda: None)
    monkeypatch.setattr(info, "read_build_report", dict)
    info.main([])
    assert "C++ ops: not built" in capsys.readouterr().out


@pytest.mark.parametrize("error", [ModuleNotFoundError, ImportError])
def test_says_what_built_the_ops_beside_a_host_module_of_another_python(monkeypatch, error):
    """Or beside one that is damaged: the ops are in a library of their own, which any Python loads."""

    def missing(name):
        raise error(name)

    monkeypatch.setattr(build_report.importlib, "import_module", missing)
    monkeypatch.setattr(info, "read_build_report", lambda: {"torch": "2.15.0", "compiler": "/usr/bin/c++"})
    assert info.build_lines() == ["C++ ops: built by /usr/bin/c++ against torch 2.15.0", "CUDA kernels: not built"]


def test_says_which_gpus_the_cuda_kernels_were_built_for(monkeypatch, tmp_path):
    report = tmp_path / "report.json"
    monkeypatch.setattr(build_report, "REPORT", report)
    report.write_text(json.dumps({"cuda_missing": "no nvcc was found"}))
    assert info.build_lines()[-1] == "CUDA kernels: not built"
    report.write_text(json.dumps({"nvcc": "13.0.88", "cuda": "13.0", "cuda_architectures": ["8.0", "12.0+PTX"]}))
    assert info.build_lines()[-1] == "CUDA kernels: built by nvcc 13.0.88 for 8.0 12.0+PTX"


def test_reason_comes_from_the_build_report(monkeypatch, tmp_path):
    report = tmp_path / "report.json"
    monkeypatch.setattr(build_report, "REPORT", report)
    assert "not built" in build_report.why_not_built() and "not built" in build_report.why_no_cuda()
    missing = {"cpp_missing": "the compiler was on holiday", "cuda_missing": "nvcc was ill"}
    report.write_text(json.dumps({"torch": "2.11.0", **missing}))
    assert build_report.why_not_built() == "the compiler was on holiday"
    assert build_report.why_no_cuda() == "nvcc was ill"
    assert build_report.read_build_report()["torch"] == "2.11.0"
