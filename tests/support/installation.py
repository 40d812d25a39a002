"""Builds wheels and installs them into a folder, out of the source directory's way.

Everything offline: --no-index, --no-deps, --no-build-isolation.
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from tests.support.sources import SOURCES, TESTED_WITH, copy_of_sources

COMPILERS = ("c++", "g++", "clang++")

LOSS = """
import json, sys, torch, bt_kernels
from bt_kernels.backends.registry import choose_backend
torch.manual_seed(0)
z = [torch.randn(6, 9, requires_grad=True) for _ in range(2)]
bt_kernels.barlow_twins_loss(*z).backward()
try:
    bt_kernels.barlow_twins_loss(*z, backend="cpu").backward()
    error = None
except RuntimeError as raised:
    error = str(raised)
device = torch.device("cpu")
print(json.dumps({"file": bt_kernels.__file__, "auto": choose_backend("auto", device), "error": error,
                  "backends": bt_kernels.available_backends(device),
                  "finite": all(bool(x.grad.isfinite().all()) for x in z)}))
"""


def environment(**changes: str) -> dict[str, str]:
    """This process's, without what would choose a compiler or a Python path for the build, and without the CUDA
    kernels, which take their time (test_install_cuda.py)."""
    chosen = ("CXX", "CC", "BT_KERNELS_CPP", "PYTHONPATH", "CUDA_HOME", "TORCH_CUDA_ARCH_LIST", "NVCC_CCBIN")
    kept = {k: v for k, v in os.environ.items() if k not in chosen}
    return kept | {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "BT_KERNELS_CUDA": "0"} | changes


def without_compilers(folder: Path) -> str:
    """A PATH on which setup.py finds no compiler."""
    empty = folder / "empty"
    empty.mkdir()
    assert not any(shutil.which(name, path=str(empty)) for name in COMPILERS)
    return str(empty)


def run(*arguments: str, cwd: Path, **changes: str) -> subprocess.CompletedProcess:
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=cwd, env=environment(**changes), capture_output=True, text=True, check=False
    )


def sentences(result: subprocess.CompletedProcess) -> list[str]:
    """Lines of standard error, without what a CUDA build of torch says on a machine without a GPU."""
    return [line for line in result.stderr.strip().splitlines() if "No CUDA runtime is found" not in line]


def sdist(folder: Path) -> Path:
    """Makes an sdist without a compiler and unpacks it."""
    tree = copy_of_sources(folder, (*SOURCES, *TESTED_WITH))
    made = run("setup.py", "-q", "sdist", "-d", str(folder), cwd=tree, BT_KERNELS_CPP="0")
    assert made.returncode == 0, made.stderr
    shutil.rmtree(tree)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


def install(folder: Path, tree: Path | None = None, **changes: str) -> tuple[Path, str]:
    """Builds a wheel from a tree, a copy of the sources if none is given, removes the tree and installs the wheel:
    (where it is, pip's output)."""
    tree = tree or copy_of_sources(folder)
    wheels, target = folder / "wheels", folder / "installed"
    offline = ("--no-index", "--no-deps")
    built = run(
        "-m", "pip", "wheel", "-v", *offline, "--no-build-isolation", "-w", str(wheels), ".", cwd=tree, **changes
    )
    assert built.returncode == 0, built.stdout + built.stderr
    shutil.rmtree(tree)
    (wheel,) = wheels.glob("bt_kernels-*.whl")
    installed = run("-m", "pip", "install", *offline, "--target", str(target), str(wheel), cwd=folder)
    assert installed.returncode == 0, installed.stdout + installed.stderr
    return target, built.stdout + built.stderr


def without_site(target: Path) -> dict[str, str]:
    """PYTHONPATH of a Python that finds the package in target and torch where it is, for use with -S.

    Without site the hooks of an editable install are not loaded, which would bring the source directory back.
    """
    return {"PYTHONPATH": os.pathsep.join([str(target), *(p for p in sys.path if p.endswith("-packages"))])}


def use(target: Path, cwd: Path) -> tuple[dict, str]:
    """What LOSS prints and what bt_kernels.info prints, from another directory."""
    path = without_site(target)
    loss = run("-S", "-c", LOSS, cwd=cwd, **path)
    assert loss.returncode == 0, loss.stderr
    info = run("-S", "-m", "bt_kernels.info", cwd=cwd, **path)
    assert info.returncode == 0, info.stderr
    found = json.loads(loss.stdout)
    assert Path(found["file"]).is_relative_to(target)
    assert found["finite"]
    return found, info.stdout


def info_line(info: str, backend: str) -> list[str]:
    return next(line.split(maxsplit=2) for line in info.splitlines() if line.startswith(f"  {backend} "))
