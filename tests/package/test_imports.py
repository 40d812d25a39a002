"""Imports run downwards only, in the order that docs/design.md states; it is read from there."""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def module_name(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(file): file for file in sorted((ROOT / "bt_kernels").rglob("*.py"))}


def imported_by(module: str) -> set[str]:
    """The package's modules that one imports: at its top, in a function or for the types alone."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: the package imports by full names, which is what is read here"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if name in MODULES else str(node.module) for name in names}
    return (found & MODULES.keys()) - {module}


IMPORTS = {module: imported_by(module) for module in MODULES}


def stated_orders() -> dict[str, list[str]]:
    section = (
        (ROOT / "docs" / "design.md").read_text().partition("## The order of imports\n")[2].partition("\n## ")[0]
    )
    rows = re.findall(r"^- `(\S+)/`: ((?:.|\n  )+)", section, re.MULTILINE)
    return {folder.replace("/", "."): re.findall(r"\w+", names) for folder, names in rows}


ORDERS = stated_orders()


def room(module: str, package: str) -> str | None:
    """The folder or module right below a package that holds a module; None beside the package."""
    if module == package:
        return "__init__"
    return module.removeprefix(f"{package}.").partition(".")[0] if module.startswith(f"{package}.") else None


def wrong_way(package: str, order: list[str], imports: dict[str, set[str]]) -> list[str]:
    """The imports of what stands after the one that imports it."""
    found = []
    for module, others in imports.items():
        for other in sorted(others):
            here, there = room(module, package), room(other, package)
            if here and there and order.index(there) > order.index(here):
                found.append(f"{module} imports {other}")
    return found


def test_no_module_imports_itself_through_others():
    try:
        list(TopologicalSorter(IMPORTS).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_orders_are_stated_for_the_package_the_backends_and_the_trainer():
    assert ORDERS.keys() == {"bt_kernels", "bt_kernels.backends", "bt_kernels.trainer"}


@pytest.mark.parametrize("package", ORDERS)
def test_imports_run_in_the_stated_order(package):
    order = ORDERS[package]
    assert sorted(order) == sorted({found for module in MODULES if (found := room(module, package))})
    assert wrong_way(package, order, IMPORTS) == []


def test_an_import_the_wrong_way_is_found():
    imports = {"bt_kernels.options": {"bt_kernels.loss"}, "bt_kernels.loss": {"bt_kernels.options"}}
    found = wrong_way("bt_kernels", ORDERS["bt_kernels"], imports)
    assert found == ["bt_kernels.options imports bt_kernels.loss"]


def test_nothing_outside_the_backends_names_one():
    """What others take of their folder holds for every backend; info.py reports on Triton by itself."""
    backends = tuple(f"bt_kernels.backends.{name}" for name in ("cpu", "cuda", "eager", "triton"))
    for module, others in IMPORTS.items():
        if not module.startswith("bt_kernels.backends.") and module != "bt_kernels.info":
            assert [other for other in others if other.startswith(backends)] == [], module
