"""pyproject.toml: what is imported is declared, the loss needs torch alone, and the commands' exit statuses."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from bt_kernels.trainer.packages import PACKAGES, missing_packages

pytestmark = pytest.mark.runs_on("cpu")

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
IMPORTED_AS = {"pillow": "PIL", "pyyaml": "yaml", "scikit-learn": "sklearn"}
OWN = {"bt_kernels", "benchmarks"}


def names(requirements: Iterable[str]) -> set[str]:
    """What these requirements bring, as it is imported; an extra of this package brings its own."""
    found = set()
    for requirement in requirements:
        name, extra = re.match(r"([\w.-]+)(?:\[([\w-]+)\])?", requirement).groups()
        found |= names(EXTRAS[extra]) if name == "bt_kernels" else {IMPORTED_AS.get(name, name)}
    return found


def imported(files: Iterable[Path]) -> dict[str, Path]:
    """The packages outside of Python's own that these files import, each with one of the files."""
    found = {}
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                modules = [node.module]
            found |= {module.split(".")[0]: path for module in modules}
    return {name: path for name, path in found.items() if name not in {*sys.stdlib_module_names, *OWN}}


TRAINER = set((ROOT / "bt_kernels" / "trainer").rglob("*.py"))
PARTS = {
    "the loss": (set((ROOT / "bt_kernels").rglob("*.py")) - TRAINER, EXTRAS["triton"]),
    "the trainer": (TRAINER, EXTRAS["trainer-all"]),
    "the benchmarks": ((ROOT / "benchmarks").rglob("*.py"), EXTRAS["benchmarks"]),
}


@pytest.mark.parametrize("part", PARTS)
def test_what_is_imported_is_declared(part):
    files, requirements = PARTS[part]
    declared = names([*PROJECT["dependencies"], *requirements])
    found = imported(files)
    assert "torch" in found
    assert {name: path for name, path in found.items() if name not in declared} == {}


def test_the_trainer_asks_for_what_its_extra_declares():
    assert set(PACKAGES) == names(EXTRAS["trainer"])


@pytest.mark.long
def test_the_loss_needs_torch_alone():
    """Forward and backward where importing numpy, or what an extra declares, fails."""
    absent = names(requirement for extra in EXTRAS.values() for requirement in extra) - {"typing_extensions"}
    code = f"""
import sys
sys.modules.update(dict.fromkeys({sorted(absent)}))
import torch, bt_kernels
z = [torch.randn(6, 9, requires_grad=True) for _ in range(2)]
bt_kernels.barlow_twins_loss(*z).backward()
assert all(x.grad.isfinite().all() for x in z)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.long
@pytest.mark.parametrize("without", ["the trainer's packages", "its optional packages"])
def test_the_suite_is_collected_without_the_trainer(without):
    """Tests that need what is missing are skipped, also where a module imports it."""
    absent = names(EXTRAS["trainer-all"]) - {"numpy", "typing_extensions"}
    if without == "its optional packages":
        absent -= names(EXTRAS["trainer"])
    code = f"""
import sys
sys.modules.update(dict.fromkeys({sorted(absent)}))
import pytest
sys.exit(pytest.main([*"-q -p no:cacheprovider --collect-only".split(), *sys.argv[1:]]))
"""
    folders = [str(ROOT / "tests" / name) for name in ("benchmarks", "fuzz", "trainer")]
    done = subprocess.run([sys.executable, "-c", code, *folders], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]


def run_script(name: str, *command_lines: list[str]) -> list[tuple[int, str, str]]:
    """The console script of that name, as an installer writes it, with each command line in turn: what it returns,
    prints, and says of errors."""
    entry = EntryPoint(name, PROJECT["scripts"][name], "console_scripts")
    code = f"""
import contextlib, io, json, sys
from {entry.module} import {entry.attr}
found = []
for arguments in {command_lines!r}:
    sys.argv, status = [{name!r}, *arguments], None
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            sys.exit({entry.attr}())
        except SystemExit as ended:
            status = ended.code or 0
    found.append((status, out.getvalue(), err.getvalue()))
print(json.dumps(found))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.long
def test_info_is_a_console_script():
    (status, text, errors), described, mistyped = run_script("bt-info", [], ["--help"], ["mistyped"])
    assert status == 0 and text.startswith("bt_kernels "), errors
    assert described[0] == 0 and described[1].startswith("usage: ")
    assert mistyped[0] == 2 and "mistyped" in mistyped[2] and not mistyped[1]


@pytest.mark.long
@pytest.mark.parametrize("name", ["bt-pretrain", "bt-evaluate"])
@pytest.mark.skipif(bool(missing_packages()), reason="the trainer's packages are not installed")
def test_the_trainer_has_console_scripts(name):
    """Their exit statuses are those of python -m: 0 for --help, 2 for what is mistyped."""
    described, mistyped = run_script(name, ["--help"], ["mistyped"])
    assert described[0] == 0
    assert mistyped[0] == 2 and mistyped[2].startswith("error: ") and "mistyped" in mistyped[2]
