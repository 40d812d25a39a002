"""The installed package with the source directory out of the way: with a compiler, without one, without torch."""

import os
import re
import shutil
import subprocess

import pytest

from tests.support.installation import (
    COMPILERS,
    info_line,
    install,
    run,
    sdist,
    use,
    without_compilers,
    without_site,
)
from tests.support.sources import ROOT, copy_of_sources

pytestmark = pytest.mark.runs_on("cpu")

LOSS_TESTS = ("loss/test_loss_values.py", "loss/test_loss_gradients.py")


def warnings(output: str) -> list[str]:
    """What a compiler said of the package's sources; torch's headers are not ours."""
    found = re.findall(r"^.*\bcsrc/\S+ warning: .*$", output, re.MULTILINE)
    return [line for line in found if "/include/torch/" not in line]


@pytest.mark.long
@pytest.mark.parametrize("compiler", ["", "clang++"])  # "": the one that setup.py finds
def test_wheel_of_the_sdist_with_a_compiler(tmp_path, compiler):
    """Built from what the sdist holds, without a warning, and held to the tests of the loss in it."""
    if not any(map(shutil.which, [compiler] if compiler else COMPILERS)):
        pytest.skip(f"no {compiler or 'C++ compiler'} on PATH")
    tree = sdist(tmp_path)
    shutil.copytree(tree / "tests", tmp_path / "apart" / "tests")
    shutil.copy(tree / "pyproject.toml", tmp_path / "apart")
    target, output = install(tmp_path, tree, CXX=compiler, MAX_JOBS="")
    assert not warnings(output)
    found, info = use(target, tmp_path)
    assert found["error"] is None and found["auto"] == "cpu"
    assert info_line(info, "cpu")[1] == "ok" and f"C++ ops: built by {compiler.rstrip('+')}" in info
    assert info_line(info, "cuda")[1:] == ["no", "BT_KERNELS_CUDA=0 when the package was installed"]
    assert "CUDA kernels: not built" in info
    assert (target / "bt_kernels" / "trainer" / "__init__.py").exists()
    # The package, its metadata and its commands, and nothing else.
    assert {path.name.split("-")[0] for path in target.iterdir()} == {"bt_kernels", "bin"}
    assert {path.name for path in (target / "bin").iterdir()} == {"bt-evaluate", "bt-info", "bt-pretrain"}
    assert any(path.name.startswith("LICENSE") for path in target.rglob("*.dist-info/**/*"))
    assert (target / "bt_kernels" / "py.typed").exists()
    unwanted = {path.suffix for path in target.rglob("*")} & {".cu", ".cuh", ".cpp", ".h", ".o"}
    assert not unwanted and not list(target.rglob("test*"))
    tests = [f"tests/{name}" for name in LOSS_TESTS]
    path = without_site(target)
    checked = run("-S", "-m", "pytest", "-q", "-k", "cpu", *tests, cwd=tmp_path / "apart", **path)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "skipped" not in checked.stdout and "bt_kernels" not in os.listdir(tmp_path / "apart")


@pytest.mark.long
def test_wheel_without_a_compiler(tmp_path):
    target, output = install(tmp_path, PATH=without_compilers(tmp_path))
    assert "the cpu backend is left out: no C++ compiler was found" in output
    assert not list(target.rglob("*.so"))
    found, info = use(target, tmp_path)
    assert found["auto"] == "eager"
    assert found["backends"]["eager"][0] and not found["backends"]["cpu"][0]
    assert "backend 'cpu' cannot run on device cpu: no C++ compiler was found" in found["error"]
    _, works, reason = info_line(info, "cpu")
    assert works == "no" and "no C++ compiler was found" in reason
    assert "C++ ops: not built" in info


@pytest.mark.long
def test_a_wheel_has_no_library_of_an_earlier_build(tmp_path):
    """A wheel takes all that is in the folder build, where what was built before still lies."""
    tree = copy_of_sources(tmp_path)
    for folder in ("earlier", "build"):
        (tree / folder / "bt_kernels").mkdir(parents=True)
        (tree / folder / "bt_kernels" / "_C.abi3.so").touch()
        (tree / folder / "bt_kernels" / "_CUDA.abi3.so").touch()
    built = run("setup.py", "-q", "build", "--build-lib", "build", cwd=tree, BT_KERNELS_CPP="0")
    assert built.returncode == 0, built.stderr
    assert (tree / "build" / "bt_kernels" / "info.py").exists()
    assert not list((tree / "build").rglob("*.so")) and len(list((tree / "earlier").rglob("*.so"))) == 2


@pytest.mark.long
def test_sdist_holds_what_building_and_testing_need(tmp_path):
    """Made without a compiler, it still holds the C++ sources and headers, and no report of another machine."""
    tree = sdist(tmp_path)
    names = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    packed = {path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file()}
    assert {"setup.py", "build_cuda.py", "pyproject.toml", "LICENSE", "bt_kernels/py.typed"} <= packed
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "csrc").rglob("*.*")}
    assert sources <= packed
    # Of a checkout everything but what serves the repository alone.
    assert {name for name in names if not name.startswith((".git", ".ci/"))} <= packed
    assert "bt_kernels/_build_report.json" not in packed and not any(name.endswith(".so") for name in packed)
