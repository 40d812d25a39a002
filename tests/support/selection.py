"""Which tests are collected for a device, and for which backends: a plugin of tests/conftest.py.

A file, or a test, names the devices that it runs on and the backends that it is for by a mark (pyproject.toml);
without one it is for all of them. A folder whose files all agree says so in its conftest.py:

    pytest_ignore_collect = only_on("cpu")

A float64 parameter is left out for the backends that refuse it.
"""

from collections import defaultdict
from collections.abc import Callable

import pytest
import torch

from bt_kernels.trainer.packages import missing_packages
from tests.support import target
from tests.support.covering import beyond_covering


def only_on(*devices: str) -> Callable:
    """A hook for a folder's conftest.py: its files are not even read with another --device."""

    def pytest_ignore_collect() -> bool | None:
        return None if target.name() in devices else True

    return pytest_ignore_collect


def pytest_generate_tests(metafunc):
    if "backend" in metafunc.fixturenames:
        metafunc.parametrize("backend", target.BACKENDS[target.name()], indirect=True)


def pytest_collection_modifyitems(config, items):
    deselected = [item for item in items if left_out(item)]
    config.hook.pytest_deselected(items=deselected)
    items[:] = [item for item in items if not left_out(item)]
    interpreted = target.name() in ("interpreter", "emulated")
    by_strength = defaultdict(list)
    for item in items:
        if interpreted and item.get_closest_marker("long_interpreted"):
            item.add_marker("long")
        by_strength[strength(item)].append(item)
    for one_or_two in (1, 2):
        for item in list(beyond_covering(by_strength[one_or_two], one_or_two)):
            item.add_marker("long")


def strength(item) -> int | None:
    """Of the combinations of parameters a short run has those with each value, 1, or with every two, 2; or all.

    A run of the loss takes a hundredth of a second on the emulated GPU and a fifth in Triton's interpreter.
    """
    every = item.get_closest_marker("all_combinations") is not None
    if target.name() == "interpreter":
        return 2 if every else 1
    if mark := item.get_closest_marker("covering"):
        return mark.args[0]
    return 2 if target.name() == "emulated" and not every else None


def left_out(item) -> bool:
    if any(target.name() not in mark.args for mark in item.iter_markers("runs_on")):
        return True
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    if "backend" not in parameters:
        return False
    backend = parameters["backend"]
    if any(backend not in mark.args for mark in item.iter_markers("backends")):
        return True
    return backend in target.NARROW and parameters.get("dtype") == torch.float64


class Module(pytest.Module):
    """A test file, which is skipped where it, or what it imports, needs one of the trainer's packages in vain."""

    def collect(self):
        try:
            return super().collect()
        except self.CollectError as error:
            wanted = getattr(error.__cause__, "name", None) or ""
            if wanted.partition(".")[0] not in missing_packages():
                raise
            pytest.skip(f"the trainer needs {', '.join(missing_packages())}")


def pytest_pycollect_makemodule(module_path, parent):
    return Module.from_parent(parent, path=module_path)
