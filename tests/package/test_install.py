"""The installed package with the source directory out of the way: with a compiler, without one, without torch."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.installation import info_line, install, run, sdist, sentences, use, without_site
from tests.support.sources import ROOT, copy_of_sources

pytestmark = pytest.mark.runs_on("cpu")

LOSS_TESTS = ("loss/test_loss_values.py", "loss/test_loss_gradients.py")
COMPILERS = ("c++", "g++", "clang++")


def without_compilers(folder: Path) -> str:
    """A PATH on which setup.py finds no compiler."""
    empty = folder / "empty"
    empty.mkdir()
    assert not any(shutil.which(name, path=str(empty)) for name in COMPILERS)
    return str(empty)


def run_setup_pretending(pretence: str, *arguments: str, cwd: Path, **changes: str) -> subprocess.CompletedProcess:
    """setup.py with the arguments, after a line of Python that changes what is installed."""
    script = f"import sys, runpy; sys.argv = {['setup.py', *arguments]}; {pretence}; "
    return run("-c", script + "runpy.run_path('setup.py', run_name='__main__')", cwd=cwd, **changes)


def warnings(output: str) -> list[str]:
    """What a compiler said of the package's sources; torch's headers are not ours."""
    found = re.findall(r"^.*\bcsrc/\S+ warning: .*$", output, re.MULTILINE)
    return [line for line in found if "/include/torch/" not in line]


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


def test_compiler_named_by_cxx_must_exist(tmp_path):
    tree = copy_of_sources(tmp_path)
    result = run("setup.py", "--version", cwd=tree, CXX="/nonexistent/compiler -O1")
    assert result.returncode == 0
    assert "no C++ compiler was found (/nonexistent/compiler -O1)" in result.stderr


def test_nothing_is_compiled_on_windows(tmp_path):
    """Also where a compiler is on PATH: there, torch would give g++'s flags to MSVC."""
    tree = copy_of_sources(tmp_path)
    windows = "import runpy, setuptools, sys, torch.utils.cpp_extension; sys.platform = 'win32'; "
    command = windows + "sys.argv = ['setup.py', '--version']; runpy.run_path('setup.py', run_name='__main__')"
    result = run("-c", command, cwd=tree, BT_KERNELS_CUDA="")
    assert result.returncode == 0, result.stderr
    assert (
        "the cpu backend is left out: the C++ ops and the CUDA kernels are not built on Windows" in result.stderr
    )
    assert "the cuda backend is left out: " in result.stderr


def test_build_can_be_turned_off(tmp_path):
    tree = copy_of_sources(tmp_path)
    result = run("setup.py", "--version", cwd=tree, BT_KERNELS_CPP="0")
    assert result.returncode == 0
    assert "the cpu backend is left out: BT_KERNELS_CPP=0" in result.stderr


@pytest.mark.parametrize("jobs", ["0", "-1", "many"])
def test_jobs_are_a_number(tmp_path, jobs):
    result = run("setup.py", "--version", cwd=copy_of_sources(tmp_path), MAX_JOBS=jobs)
    assert result.returncode != 0
    (sentence,) = sentences(result)
    assert sentence.startswith(f"MAX_JOBS={jobs}: ")


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


SAY_WHAT_IS_BUILT = """
import torch.utils.cpp_extension
from pathlib import Path
from setuptools.modified import newer_group

def build(self):
    for extension in self.extensions:
        path = Path(self.get_ext_fullpath(extension.name))
        if newer_group(extension.sources + extension.depends, path):
            print(extension.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

torch.utils.cpp_extension.BuildExtension.build_extensions = build
"""


def test_built_again_for_another_header_or_other_flags(tmp_path):
    """And not where nothing has changed since."""
    tree = copy_of_sources(tmp_path)

    def built(**changes: str) -> list[str]:
        done = run_setup_pretending(f"exec({SAY_WHAT_IS_BUILT!r})", "-q", "build_ext", cwd=tree, **changes)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    both = ["bt_kernels._C", "bt_kernels._host"]
    assert built(CFLAGS="") == both
    assert built(CFLAGS="") == []
    (tree / "csrc" / "shim.h").touch()
    assert built(CFLAGS="") == both
    assert built(CFLAGS="-march=native") == both


def test_build_that_is_asked_for_fails_in_one_sentence(tmp_path):
    tree = copy_of_sources(tmp_path)
    result = run("setup.py", "--version", cwd=tree, BT_KERNELS_CPP="1", PATH=without_compilers(tmp_path))
    assert result.returncode != 0
    (sentence,) = sentences(result)
    assert sentence.startswith("BT_KERNELS_CPP=1 asks for the C++ ops, but no C++ compiler was found")


def test_hidden_torch_is_explained_in_one_sentence(tmp_path):
    """What build isolation does: setup.py runs in an environment without torch."""
    tree = copy_of_sources(tmp_path)
    result = run_setup_pretending("sys.modules['torch'] = None", "--version", cwd=tree)
    assert result.returncode != 0
    (sentence,) = sentences(result)
    assert "install torch" in sentence and "--no-build-isolation" in sentence


TORCH_BELOW_THE_STABLE_ABI = "import torch; torch.__version__ = '2.9.1+cu128'"
BELOW_THE_STABLE_ABI = (
    "the C++ ops and the CUDA kernels are built with the stable ABI of torch 2.10 or newer, "
    "and the package was installed beside torch 2.9.1+cu128"
)


def test_torch_below_the_stable_abi_gets_the_package_without_libraries(tmp_path):
    """And info and the error of a backend that was asked for say why there are none."""
    tree = copy_of_sources(tmp_path)
    built = run_setup_pretending(
        TORCH_BELOW_THE_STABLE_ABI, "-q", "build", cwd=tree, TORCH_CUDA_ARCH_LIST="8.0", BT_KERNELS_CUDA=""
    )
    assert built.returncode == 0, built.stderr
    assert f"the cpu backend is left out: {BELOW_THE_STABLE_ABI}." in built.stderr
    assert not list(tree.rglob("*.so")) and not list(tree.rglob("*.o"))
    assert json.loads((tree / "bt_kernels" / "_build_report.json").read_text())["cuda_missing"]
    found, info = use(tree, tmp_path)
    assert found["auto"] == "eager" and found["error"].endswith(BELOW_THE_STABLE_ABI)
    assert info_line(info, "cpu")[1:] == ["no", BELOW_THE_STABLE_ABI]


@pytest.mark.parametrize("switch", ["BT_KERNELS_CPP", "BT_KERNELS_CUDA"])
def test_libraries_asked_for_below_the_stable_abi_are_an_error(tmp_path, switch):
    tree = copy_of_sources(tmp_path)
    result = run_setup_pretending(TORCH_BELOW_THE_STABLE_ABI, "--version", cwd=tree, **{switch: "1"})
    assert result.returncode != 0
    (sentence,) = sentences(result)
    assert sentence.startswith(f"{switch}=1 asks for the ") and sentence.endswith(f"but {BELOW_THE_STABLE_ABI}.")


@pytest.mark.parametrize(
    "pretence, sentence",
    [
        (
            "import torch; torch.__version__ = '2.5.1'",
            "needs torch 2.6 or newer, and this environment has torch 2.5.1",
        ),
        (
            "import setuptools; setuptools.__version__ = '65.5.0'",
            "setuptools 77 or newer, and this environment has 65",
        ),
    ],
    ids=["torch", "setuptools"],
)
def test_too_old_to_install_beside_is_one_sentence(tmp_path, pretence, sentence):
    """Said by setup.py and not by pip's dependencies, which would replace the torch."""
    tree = copy_of_sources(tmp_path)
    result = run_setup_pretending(pretence, "--version", cwd=tree)
    assert result.returncode != 0 and not result.stdout
    (said,) = sentences(result)
    assert sentence in said


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
