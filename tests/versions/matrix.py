"""A part of the tests beside several versions of torch and Python: make test-matrix

Each row has an environment of its own in build/matrix, some 5 GB, removed afterwards: torch as pip finds it,
the tests' packages as requirements.txt has them, and this package as its users install it, from a copy of the
checkout. A row's counts go into results.json, beside this file, as soon as it has run; from there come the table
docs/versions.md and README.md's line. pip heeds its variables (PIP_INDEX_URL, PIP_CONSTRAINT, ...).
"""

import argparse
import datetime
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.support.sources import ROOT, SOURCES, TESTED_WITH, copy_of_sources
from tests.versions import version_table

FOLDER = ROOT / "build" / "matrix"
PINS = (ROOT / "requirements.txt").read_text()
# torch brings its Triton; how new setuptools may be depends on torch.
TESTS_NEED = ("numpy", "pybind11", "ninja", "pytest", "hypothesis")


@dataclass(frozen=True)
class Row:
    torch: str
    python: str

    @property
    def name(self) -> str:
        return f"torch-{self.torch}-python-{self.python}"


PINNED = re.search(r"^torch==(\S+)", PINS, re.MULTILINE)[1]
# The oldest torch of pyproject.toml, one in between, the pinned and the newest (no wheel for Python 3.10),
# each with another Python.
ROWS = (Row("2.6.0", "3.10"), Row("2.11.0", "3.12"), Row(PINNED, "3.11"), Row("2.15.0", "3.13"))


@dataclass(frozen=True)
class Suite:
    device: str
    files: str
    needs: str  # a backend; the emulated GPU's library needs what the C++ ops need
    chosen: str  # pytest's -k


SUITES = (
    Suite(
        "cpu",
        "loss/test_loss_values.py loss/test_loss_gradients.py autograd/test_autograd.py autograd/test_autocast.py "
        "compile/test_compile.py compile/test_export.py autograd/test_transforms.py autograd/test_subclasses.py "
        "backends/cpu/test_ops.py backends/test_stages.py loss/test_module.py loss/test_options.py "
        "loss/test_bad_input.py backends/test_registry.py package/test_info.py presets/test_presets.py "
        "distributed",
        "eager",
        "not whole_training_step",  # Inductor compiles a network for minutes
    ),
    Suite(
        "interpreter",
        "loss/test_loss_values.py compile/test_compile.py backends/triton/test_triton_ops.py "
        "backends/triton/test_interpreter_bf16.py",
        "triton",
        "not large",
    ),
    Suite(
        "emulated",
        "loss/test_loss_values.py compile/test_compile.py backends/cuda/test_cuda_ops.py",
        "cpu",
        "not large",
    ),
)
DESCRIBE = """
import importlib.util, json, platform, torch
from bt_kernels import available_backends
from importlib.metadata import version
found = {name: version(name) for name in ("torch", "numpy", "triton") if importlib.util.find_spec(name)}
backends = available_backends("cpu")
why_not = {name: backends[name].reason for name in ("cpu", "triton") if not backends[name].ok}
print(json.dumps({"python": platform.python_version(), **found, "why_not": why_not}))
"""


class RowFailed(Exception):
    """In one sentence, why a row has no result."""


def find_python(version: str) -> str:
    """The interpreter of that version on PATH, which has to run: a version manager's may not."""
    for command in (sys.executable, f"python{version}"):
        code = "import sys; print('{}.{}'.format(*sys.version_info))"
        try:
            found = subprocess.run([command, "-c", code], capture_output=True, text=True, check=False)
        except OSError:
            continue
        if found.stdout.strip() == version:
            return command
    raise RowFailed(f"there is no python{version} on PATH; --python names another version")


def pinned(package: str) -> list[str]:
    """The lines of requirements.txt for a package, one for each marker."""
    return [line.partition("#")[0].strip() for line in PINS.splitlines() if line.startswith(f"{package}==")]


class Environment:
    """A row's virtual environment, a copy of the checkout, and a log of what ran there."""

    def __init__(self, row: Row) -> None:
        self.row, self.folder = row, FOLDER / row.name
        self.python, self.tree = self.folder / "venv" / "bin" / "python", self.folder / "tree"
        self.log = FOLDER / f"{row.name}.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.write_text("")

    def run(self, *command: str | Path, **variables: str) -> int:
        """A command in the copy; what it prints goes to the log."""
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | variables
        with self.log.open("a") as log:
            print("$", *command, file=log, flush=True)
            return subprocess.run(
                command, cwd=self.tree, env=environment, stdout=log, stderr=subprocess.STDOUT, check=False
            ).returncode

    def must_run(self, *command: str | Path, **variables: str) -> None:
        if self.run(*command, **variables) != 0:
            last = "".join(self.log.read_text().splitlines(keepends=True)[-15:])
            raise RowFailed(f"{' '.join(map(str, command))} failed, in {self.log}:\n{last}")

    def install(self) -> dict:
        """Installs everything, the package last, and returns the versions, and why a backend is not there."""
        shutil.rmtree(self.tree, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        copy_of_sources(self.folder, (*SOURCES, *TESTED_WITH))
        if not self.python.exists():
            self.must_run(find_python(self.row.python), "-m", "venv", self.folder / "venv")
        pip = (self.python, "-m", "pip", "install", "--disable-pip-version-check")
        pins = [line for package in TESTS_NEED for line in pinned(package)]
        self.must_run(*pip, f"torch=={self.row.torch}", "setuptools>=77", *pins)
        # The GPUs' kernels would take minutes, and no test here runs them.
        self.must_run(*pip, "--no-build-isolation", ".", BT_KERNELS_CUDA=os.environ.get("BT_KERNELS_CUDA", "0"))
        shutil.rmtree(self.tree / "bt_kernels")  # the tests import what was installed
        interpreted = os.environ | {"TRITON_INTERPRET": "1"}  # Triton's kernels take CPU tensors then
        described = subprocess.run(
            [self.python, "-c", DESCRIBE],
            cwd=self.tree,
            env=interpreted,
            capture_output=True,
            text=True,
            check=False,
        )
        if described.returncode != 0:
            raise RowFailed(f"the package cannot be imported:\n{described.stderr}")
        versions = json.loads(described.stdout)
        if versions["torch"].partition("+")[0] != self.row.torch:
            raise RowFailed(f"pip replaced torch {self.row.torch} by {versions['torch']}")
        return versions

    def test(self, suite: Suite) -> dict:
        report = self.folder / f"{suite.device}.xml"
        report.unlink(missing_ok=True)
        files = [f"tests/{name}" for name in suite.files.split()]
        # The emulated GPU's objects do not depend on torch: every row takes them from one cache.
        options = ["-q", "--device", suite.device, f"--junitxml={report}", "-o", f"cache_dir={FOLDER / 'cache'}"]
        variables = {"TRITON_INTERPRET": "1"} if suite.device == "interpreter" else {}
        status = self.run(self.python, "-m", "pytest", *options, "-k", suite.chosen, *files, **variables)
        if status not in (0, 1) or not report.exists():
            raise RowFailed(f"pytest --device {suite.device} ended with status {status}; see {self.log}")
        return counts(report)

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def counts(report: Path) -> dict:
    """What pytest's report says of a suite."""
    found = {"passed": 0, "failed": 0, "skipped": 0, "failures": []}
    for case in ElementTree.parse(report).iter("testcase"):
        outcomes = {child.tag for child in case}
        outcome = "failed" if outcomes & {"failure", "error"} else "skipped" if "skipped" in outcomes else "passed"
        found[outcome] += 1
        if outcome == "failed":
            found["failures"].append(f"{case.get('classname')}::{case.get('name')}")
    return found


def first_line(*command: str) -> str | None:
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.partition("\n")[0] if done.returncode == 0 else None


def describe_machine() -> dict:
    cpu = first_line("sed", "-n", r"s/^model name\s*: //p", "/proc/cpuinfo")
    return {"cpu": cpu or platform.machine(), "cores": os.cpu_count(), "platform": platform.platform()}


def run_row(row: Row, keep: bool) -> dict:
    environment = Environment(row)
    print(f"{row.name}: installing; {environment.log.relative_to(ROOT)} has what the commands print", flush=True)
    commit = first_line("git", "describe", "--always", "--dirty", "--abbrev=40")
    try:
        versions = environment.install()
        why_not, suites = versions.pop("why_not"), {}
        for suite in SUITES:
            if suite.needs in why_not:
                continue
            found = suites[suite.device] = environment.test(suite)
            print(f"{row.name}: {suite.device}: {found['passed']} passed, {found['failed']} failed", flush=True)
    finally:
        if not keep:
            environment.remove()
    result = {what: sum(found[what] for found in suites.values()) for what in ("passed", "failed", "skipped")}
    return {
        "command": f"python tests/versions/matrix.py --torch {row.torch} --python {row.python}",
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": commit,
        "machine": describe_machine(),
        "versions": versions,
        "compiler": first_line(os.environ.get("CXX", "c++"), "--version"),
        **result,
        "suites": suites,
        "why_not": why_not,
    }


def chosen_rows(torch: str | None, python: str | None) -> list[Row]:
    """Of ROWS, those with that torch and that Python; a torch or a Python of no row makes a row."""
    rows = [row for row in ROWS if torch in (None, row.torch) and python in (None, row.python)]
    here = "{}.{}".format(*sys.version_info)
    return rows or [Row(torch or PINNED, python or here)]


def whole_version(text: str) -> str:
    if not re.fullmatch(r"\d+\.\d+\.\d+", text):
        raise argparse.ArgumentTypeError(f"expected a whole version, such as {PINNED}, got {text!r}")
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python tests/versions/matrix.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Exit status: 0 all passed; 1 a test failed, or a row could not be run.",
    )
    torch_help = "the row of this torch alone, or a new row"
    parser.add_argument("--torch", metavar="VERSION", type=whole_version, help=torch_help)
    parser.add_argument("--python", metavar="3.X", help="the rows of this Python alone, or a new row")
    parser.add_argument("--keep", action="store_true", help="leave the environments for the next run")
    given = parser.parse_args(arguments)
    failed = False
    for row in chosen_rows(given.torch, given.python):
        try:
            result = run_row(row, given.keep)
        except RowFailed as reason:
            print(f"{row.name}: {reason}", file=sys.stderr)
            failed = True
            continue
        version_table.merge(row.name, result)
        failed |= result["failed"] > 0
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted; the rows that had ended are in results.json")
