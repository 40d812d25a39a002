"""The ranks that all tests of this folder share."""

import pytest
from processes import Processes


@pytest.fixture(scope="session")
def processes():
    ranks = Processes()
    yield ranks
    ranks.stop()


@pytest.fixture
def run(processes):
    """run(world, function, *arguments, per_rank=None) -> what function(group, ...) returned on each rank."""
    return processes.run
