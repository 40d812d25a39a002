"""Which tests are collected for a device, and for which backends: a plugin of tests/conftest.py.

A file, or a test, names the devices that it runs on and the backends that it is for by a mark (pyproject.toml);
without one it is for all of them. A folder whose files all agree says so in its conftest.py:

    pytest_ignore_collect = only_on("cpu")

A float64 parameter is left out for the backends that refuse it.
"""

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
    for item in items:
        if interpreted and item.get_closest_marker("long_interpreted"):
            item.add_marker("long")
    # Of many combinations of parameters a short run has a few.
    of_each_value = [item for item in items if item.get_closest_marker("each_value")]
    surplus = list(beyond_covering(of_each_value, strength=1))
    if interpreted:
        others = [item for item in items if not item.get_closest_marker("each_value")]
        surplus += beyond_covering(others, strength=2)
    for item in surplus:
        item.add_marker("long")


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
