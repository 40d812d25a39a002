"""What setup.py builds, what it leaves out and what it says of it: a process, and an import of torch, for each."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.support.installation import (
    info_line,
    run,
    sentences,
    use,
    without_compilers,
)
from tests.support.sources import copy_of_sources

pytestmark = [pytest.mark.runs_on("cpu"), pytest.mark.long]


def run_setup_pretending(pretence: str, *arguments: str, cwd: Path, **changes: str) -> subprocess.CompletedProcess:
    """setup.py with the arguments, after a line of Python that changes what is installed."""
    script = f"import sys, runpy; sys.argv = {['setup.py', *arguments]}; {pretence}; "
    return run("-c", script + "runpy.run_path('setup.py', run_name='__main__')", cwd=cwd, **changes)


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
