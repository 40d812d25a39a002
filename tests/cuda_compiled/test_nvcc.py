"""That a compilation is another one once anything is different that it depends on."""

import shutil
from pathlib import Path

import pytest

from tests.cuda_compiled.cuda_kernels import KERNELS_FOLDER, ROOT, SOURCES
from tests.cuda_compiled.nvcc import Compilations
from tests.support.outcomes import Outcomes

SOURCE = "gram/gram_apply.cu"


@pytest.fixture
def key_of(compilations, tmp_path):
    """key_of(source, arch) in a copy of csrc, tmp_path/csrc, as it is at that moment."""
    shutil.copytree(ROOT / "csrc", tmp_path / "csrc")

    def key_of(source: str = SOURCE, arch: str = "sm_90a") -> str:
        return Compilations(Outcomes(tmp_path), tmp_path).key(tmp_path / "csrc" / "cuda" / source, arch)

    return key_of


def append(path: Path) -> None:
    path.write_text(path.read_text() + "\n")


def test_nothing_is_different(key_of):
    assert key_of() == key_of()


def test_every_source_and_architecture_has_its_own(compilations):
    keys = {compilations.key(KERNELS_FOLDER / x, arch) for x in SOURCES for arch in ("sm_80", "sm_90a", "sm_100a")}
    assert len(keys) == 3 * len(SOURCES)


def test_headers(key_of, tmp_path):
    headers = sorted((tmp_path / "csrc" / "cuda").rglob("*.*h"))
    keys = {key_of()}
    for header in headers:
        append(header)
        keys.add(key_of())
    assert len(keys) == 1 + len(headers) > 40


def test_the_source_alone(key_of, tmp_path):
    before, other = key_of(), key_of("host/correlation.cu")
    append(tmp_path / "csrc" / "cuda" / SOURCE)
    assert key_of() != before
    assert key_of("host/correlation.cu") == other


@pytest.mark.parametrize("variable", ["NVCC_APPEND_FLAGS", "CPLUS_INCLUDE_PATH"])
def test_variables(key_of, monkeypatch, variable):
    before = key_of()
    monkeypatch.setenv(variable, "/nowhere" if variable.endswith("PATH") else "-G")
    assert key_of() != before


def test_another_nvcc(key_of, monkeypatch, tmp_path):
    """That says of itself that it is newer."""
    before = key_of()
    newer = tmp_path / "nvcc"
    nvcc = shutil.which("nvcc")
    newer.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo newer\nexec {nvcc} "$@"\n')
    newer.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{Path(nvcc).parent}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_HOME", raising=False)
    assert key_of() != before
