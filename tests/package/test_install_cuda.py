"""Whether and how setup.py builds the CUDA kernels: with a stand-in for nvcc, and once with nvcc where it is."""

import json
import os
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import build_cuda
from tests.support.installation import info_line, install, run, sentences, use
from tests.support.sources import copy_of_sources

pytestmark = pytest.mark.runs_on("cpu")

NVCC = """#!{python}
import pathlib, sys
arguments = sys.argv[1:]
if arguments == ["--version"]:
    print("Cuda compilation tools, release {release}, V{version}")
elif arguments == ["--list-gpu-arch"]:
    print("compute_75\\ncompute_80\\ncompute_86\\ncompute_90\\ncompute_100")
elif arguments[0] == "--dryrun":
    print('#$ INCLUDES="-I{folder}" "-I{folder}/none"\\n#$ LIBRARIES=  "-L{folder}"', file=sys.stderr)
else:
    with open("{folder}/log", "a") as log:
        print(*arguments, file=log)
    if "refused" in arguments[arguments.index("-c") + 1]:
        sys.exit("error: no")
    pathlib.Path(arguments[arguments.index("-o") + 1]).touch()
"""


def stand_in(folder: Path, version: str = "13.0.88") -> Path:
    """A CUDA_HOME whose nvcc knows 7.5, 8.0, 8.6, 9.0 and 10.0 and writes down what it is asked to compile."""
    nvcc = folder / "toolkit" / "bin" / "nvcc"
    nvcc.parent.mkdir(parents=True)
    release = version.rpartition(".")[0]
    nvcc.write_text(NVCC.format(python=sys.executable, release=release, version=version, folder=nvcc.parent))
    nvcc.chmod(0o755)
    return nvcc.parent.parent


def plan(folder: Path, torch_cuda: str | None = "13.0", **changes: str) -> tuple[int, str, dict]:
    """What setup.py says and reports beside a torch of that CUDA, without building: (status, stderr, report)."""
    tree = copy_of_sources(folder)
    beside = f"import sys, runpy, torch; torch.version.cuda = {torch_cuda!r}; "
    command = beside + "sys.argv = ['setup.py', '-q', 'build_py']; runpy.run_path('setup.py', run_name='__main__')"
    result = run("-c", command, cwd=tree, **{"BT_KERNELS_CUDA": "", **changes})
    report = tree / "bt_kernels" / "_build_report.json"
    return (
        result.returncode,
        "\n".join(sentences(result)),
        json.loads(report.read_text()) if report.exists() else {},
    )


def left_out(planned: tuple[int, str, dict]) -> str:
    """The reason, which is both printed in one line and reported."""
    status, text, report = planned
    assert status == 0, text
    (line,) = (line for line in text.splitlines() if line.startswith("bt_kernels:"))
    assert line == f"bt_kernels: the cuda backend is left out: {report['cuda_missing']}."
    assert "nvcc" not in report and "cuda_architectures" not in report
    return report["cuda_missing"]


@pytest.mark.long
def test_built_where_nvcc_is_and_torch_is_a_cuda_build(tmp_path):
    status, text, report = plan(tmp_path, CUDA_HOME=str(stand_in(tmp_path)))
    assert status == 0 and "left out" not in text
    assert (report["nvcc"], report["cuda"]) == ("13.0.88", "13.0")
    # The default, as far as this nvcc knows it.
    assert report["cuda_architectures"] == ["8.0", "8.6", "9.0a", "10.0"]
    assert "cuda_missing" not in report


@pytest.mark.long
def test_nvcc_on_path(tmp_path):
    path = os.pathsep.join([str(stand_in(tmp_path, "13.7.42") / "bin"), os.environ["PATH"]])
    assert plan(tmp_path, PATH=path)[2]["nvcc"] == "13.7.42"


@pytest.mark.long
def test_left_out_without_nvcc(tmp_path):
    reason = left_out(plan(tmp_path, CUDA_HOME="/nonexistent"))
    assert reason.startswith("no nvcc was found (CUDA_HOME=/nonexistent) when the package was installed; install")


@pytest.mark.long
def test_left_out_beside_a_torch_without_cuda(tmp_path):
    reason = left_out(plan(tmp_path, None, CUDA_HOME=str(stand_in(tmp_path))))
    assert reason == f"the package was installed beside torch {torch.__version__}, a build without CUDA"


@pytest.mark.long
def test_left_out_without_a_compiler(tmp_path):
    status, text, report = plan(tmp_path, CUDA_HOME=str(stand_in(tmp_path)), CXX="/nonexistent/compiler")
    assert status == 0 and "the cuda backend is left out: no C++ compiler was found" in text
    assert report["cuda_missing"] == report["cpp_missing"]


@pytest.mark.long
def test_left_out_where_it_is_turned_off(tmp_path):
    reason = left_out(plan(tmp_path, CUDA_HOME=str(stand_in(tmp_path)), BT_KERNELS_CUDA="0"))
    assert reason == "BT_KERNELS_CUDA=0 when the package was installed"


@pytest.mark.long
def test_left_out_for_another_major_version_than_torchs(tmp_path):
    reason = left_out(plan(tmp_path, CUDA_HOME=str(stand_in(tmp_path, "12.8.93"))))
    assert "installed with nvcc 12.8.93 beside torch" in reason
    assert "built with CUDA 13.0; CUDA_HOME names" in reason


@pytest.mark.long
@pytest.mark.parametrize("torch_cuda", ["12.8", None])
def test_asked_for_is_built_for_any_torch(tmp_path, torch_cuda):
    status, text, report = plan(tmp_path, torch_cuda, CUDA_HOME=str(stand_in(tmp_path)), BT_KERNELS_CUDA="1")
    assert status == 0 and "left out" not in text and report["cuda"] == "13.0"


@pytest.mark.long
def test_asked_for_without_nvcc_fails_in_one_sentence(tmp_path):
    status, text, report = plan(tmp_path, CUDA_HOME="/nonexistent", BT_KERNELS_CUDA="1")
    assert status != 0 and not report
    (line,) = text.strip().splitlines()
    assert line.startswith("BT_KERNELS_CUDA=1 asks for the CUDA kernels, but no nvcc was found (CUDA_HOME=/non")


@pytest.fixture
def toolkit(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_HOME", str(stand_in(tmp_path)))
    monkeypatch.delenv("TORCH_CUDA_ARCH_LIST", raising=False)
    return build_cuda.find_toolkit()


def test_toolkits_folders_are_nvccs_own(toolkit, tmp_path):
    there = [str(tmp_path / "toolkit" / "bin")]
    assert (toolkit.include_dirs, toolkit.library_dirs) == (there, there)


REQUESTS = [
    ("8.0", "8.0", "compute_80,code=sm_80"),
    (" 8.0;8.6 ;", "8.0 8.6", "compute_80,code=sm_80 compute_86,code=sm_86"),
    ("7.5 8.0 8.0", "8.0", "compute_80,code=sm_80"),
    ("9.0", "9.0a", "compute_90a,code=sm_90a"),
    ("9.0a+PTX", "9.0a", "compute_90a,code=sm_90a"),
    ("9.0+PTX", "9.0a 9.0+PTX", "compute_90a,code=sm_90a compute_90,code=sm_90 compute_90,code=compute_90"),
    ("10.0f", "10.0f", "compute_100f,code=sm_100f"),
    ("10.0+PTX", "10.0+PTX", "compute_100,code=sm_100 compute_100,code=compute_100"),
]


@pytest.mark.parametrize("requested, names, targets", REQUESTS)
def test_architectures(toolkit, monkeypatch, requested, names, targets):
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", requested)
    found = build_cuda.find_architectures(toolkit)
    assert " ".join(map(str, found)) == names
    assert [flag for x in found for flag in x.flags] == [f"-gencode=arch={target}" for target in targets.split()]


REFUSED = [
    ("8.0 Hopper", "held 'Hopper' where names such as 8.0, 9.0a and 12.0+PTX are understood"),
    ("8.0;12.0", "held 12.0, which nvcc 13.0.88 does not know"),
    ("5.2;7.5+PTX", "5.2;7.5+PTX names no GPU that the kernels run on: 8.0 or newer"),
]


@pytest.mark.parametrize("requested, reason", REFUSED)
def test_architectures_that_cannot_be_built(toolkit, monkeypatch, requested, reason):
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", requested)
    with pytest.raises(build_cuda.CannotBuild, match=f"^TORCH_CUDA_ARCH_LIST.{re.escape(reason)}$"):
        build_cuda.find_architectures(toolkit)


@pytest.fixture
def kernels(toolkit, monkeypatch, tmp_path):
    """Three kernel files and a header. build(architectures) compiles what has to be: {file: nvcc's arguments}."""
    folder, log = tmp_path / "csrc" / "cuda", Path(toolkit.nvcc).parent / "log"
    for name in ("gram.cu", "portable/bfloat16.cu", "portable/ieee.cu", "sm90/bfloat16.cu", "tiles.cuh"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)

    def build(requested="8.0 9.0"):
        monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", requested)
        log.write_text("")
        objects = build_cuda.Objects(tmp_path, toolkit, build_cuda.find_architectures(toolkit), "c++")
        objects.compile(jobs=2)
        assert all(path.exists() for path in objects.paths.values())
        assert len(set(objects.paths.values())) == len(objects.sources)
        lines = log.read_text().splitlines()
        return {re.search(r"-c \S*/csrc/cuda/(\S+)", line)[1]: line.split() for line in lines}

    return SimpleNamespace(folder=folder, build=build)


def test_hoppers_own_files_are_compiled_for_hopper_alone(kernels):
    """And their namesakes for all others, as long as there are any."""
    commands = kernels.build()
    assert set(commands) == {"gram.cu", "portable/bfloat16.cu", "portable/ieee.cu", "sm90/bfloat16.cu"}
    hopper, ampere = (f"-gencode=arch=compute_{x},code=sm_{x}" for x in ("90a", "80"))
    for name, command in commands.items():
        assert "-DBT_SM90=1" in command and "-ccbin=c++" in command
        assert (ampere in command) == (name != "sm90/bfloat16.cu")
        assert (hopper in command) == (name != "portable/bfloat16.cu")
    assert all(hopper in command for command in kernels.build("9.0").values())


def test_hoppers_own_files_are_left_out_without_hopper(kernels):
    commands = kernels.build("8.0")
    assert set(commands) == {"gram.cu", "portable/bfloat16.cu", "portable/ieee.cu"}
    assert all("-DBT_SM90=0" in command for command in commands.values())


def test_compiles_again_what_changed(kernels):
    everything = set(kernels.build())
    assert not kernels.build()
    (kernels.folder / "gram.cu").write_text("changed")
    assert set(kernels.build()) == {"gram.cu"}
    (kernels.folder / "tiles.cuh").write_text("changed")
    assert set(kernels.build()) == everything
    assert set(kernels.build("8.6 9.0")) == everything - {"sm90/bfloat16.cu"}


def test_names_the_file_that_does_not_compile(kernels):
    (kernels.folder / "refused.cu").write_text("no")
    for _ in range(2):  # what failed once is tried again
        with pytest.raises(build_cuda.CannotBuild, match="nvcc could not compile csrc/cuda/refused.cu"):
            kernels.build()


@pytest.mark.long
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc on PATH")
def test_wheel_with_the_cuda_kernels(tmp_path):
    """They are built and load beside any torch, one without CUDA too. For Hopper, which has every file."""
    changes = {"BT_KERNELS_CUDA": "1", "BT_KERNELS_CPP": "0", "TORCH_CUDA_ARCH_LIST": "9.0a"}
    changes["NVCC_APPEND_FLAGS"] = "-w -Xcicc=-O1 -Xptxas=-O0"  # tests/cuda_compiled reads optimized code
    target, _ = install(tmp_path, **changes)
    assert [path.name for path in (target / "bt_kernels").glob("*.so")] == ["_CUDA.abi3.so"]
    _, info = use(target, tmp_path)
    assert re.search(r"CUDA kernels: built by nvcc \S+ for 9.0a\n", info)
    assert info_line(info, "cuda")[1:] == ["no", "it takes embeddings on a CUDA GPU, not on cpu"]


@pytest.mark.long
@pytest.mark.parametrize("switch", ["BT_KERNELS_CPP", "BT_KERNELS_CUDA"])
def test_switches_are_0_or_1(tmp_path, switch):
    result = run("setup.py", "--version", cwd=copy_of_sources(tmp_path), **{switch: "yes"})
    assert result.returncode != 0
    assert result.stderr.strip().splitlines()[-1].startswith(f"{switch}=yes: 1 asks for ")


@pytest.mark.long
def test_a_failed_build_leaves_nothing_of_an_earlier_one(tmp_path):
    tree = copy_of_sources(tmp_path)
    (tree / "csrc" / "cuda" / "refused.cu").touch()
    stale, report = (tree / "bt_kernels" / name for name in ("_CUDA.abi3.so", "_build_report.json"))
    stale.touch()
    switches = {"BT_KERNELS_CUDA": "1", "BT_KERNELS_CPP": "0", "CUDA_HOME": str(stand_in(tmp_path))}
    result = run("setup.py", "-q", "build_ext", "--inplace", cwd=tree, **switches)
    assert result.returncode != 0 and "nvcc could not compile csrc/cuda/refused.cu" in result.stderr
    assert not stale.exists() and not report.exists()
