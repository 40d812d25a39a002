"""The benchmarks are not installed with the package: they are imported from the repository's root."""

import sys
from pathlib import Path

import pytest
import torch

from tests.support.selection import only_on

pytest_ignore_collect = only_on("cpu")


sys.path.insert(0, str(Path(__file__).parents[2]))


@pytest.fixture(autouse=True)
def one_thread():
    """Tiny cells are slower on more, most of all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
