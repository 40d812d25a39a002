"""The ranks that all tests of this folder share."""

import pytest

from tests.support.distributed.processes import Processes
from tests.support.selection import only_on

pytest_ignore_collect = only_on("cpu")


@pytest.fixture(scope="session")
def processes():
    ranks = Processes()
    yield ranks
    ranks.stop()


@pytest.fixture
def run(processes):
    """run(world, function, *arguments, per_rank=None) -> what function(group, ...) returned on each rank."""
    return processes.run
