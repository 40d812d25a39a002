"""What the benchmarks' tests share. Benchmarks are not installed: pytest has the repository's root on the path."""

import pytest
import torch

from tests.support.selection import only_on

pytest_ignore_collect = only_on("cpu")


@pytest.fixture(autouse=True)
def one_thread():
    """Tiny cells are slower on more, most of all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def brief_loss(monkeypatch):
    """benchmarks.loss without its compiled candidates, with few rounds, and peaks that no process measures."""
    from benchmarks.shared.candidates import CANDIDATES

    eager = {name: candidate for name, candidate in CANDIDATES.items() if not candidate.compiled}
    monkeypatch.setattr("benchmarks.loss.__main__.CANDIDATES", eager)
    monkeypatch.setattr("benchmarks.shared.device.CpuDevice.max_rounds", 3)
    monkeypatch.setattr("benchmarks.shared.device.last_level_cache", lambda: 1 << 20)
    monkeypatch.setattr(
        "benchmarks.loss.run_cell.peak_deltas", lambda _, cell, steps, *rest, **how: dict.fromkeys(steps, 1000)
    )
