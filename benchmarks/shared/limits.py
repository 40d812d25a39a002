"""The one place that decides which candidates run: what does not fit in memory or would take too long is refused.

A refusal is a sentence that goes into the table and the result file in place of a number.
"""

from benchmarks.shared.candidates import CANDIDATES, FLOOR, estimated_bytes
from benchmarks.shared.cell import Cell
from benchmarks.shared.device import CpuDevice, Device

CPU_MAX_BYTES = 12e9  # leaves room for the machine's other users; --max-memory changes it
SHARE_OF_AVAILABLE = 0.8
MAX_CALL_SECONDS = 10.0  # of a baseline; bt_kernels and the floor run whatever they take


def memory_limit(device: Device, requested_gb: float | None) -> float:
    """Bytes that a cell may take: --max-memory, else 12 GB on a CPU; never more than 80 % of what is free."""
    cap = requested_gb * 1e9 if requested_gb else CPU_MAX_BYTES if isinstance(device, CpuDevice) else float("inf")
    return min(cap, SHARE_OF_AVAILABLE * device.available_bytes())


def shared_bytes(cell: Cell) -> int:
    """What a cell holds whoever runs: the embeddings and the float64 gradient of the correctness check."""
    return cell.embeddings_bytes + 2 * 8 * cell.n * cell.d


def does_not_fit(name: str, cell: Cell, limit: float) -> str | None:
    """Why the candidate's memory forbids this cell; None if it does not."""
    need = shared_bytes(cell) + estimated_bytes(name, cell)
    if need <= limit:
        return None
    return f"does not fit: needs about {need / 1e9:.3g} GB of the {limit / 1e9:.3g} GB allowed"


class CallTimes:
    """Seconds per call seen so far, to foresee a larger D at the same N, or a larger N at the same D."""

    def __init__(self) -> None:
        self._seen: dict[str, list[tuple[int, int, float]]] = {}

    def record(self, name: str, cell: Cell, seconds: float) -> None:
        self._seen.setdefault(name, []).append((cell.n, cell.d, seconds))

    def too_slow(self, name: str, cell: Cell) -> str | None:
        """Why the expected time forbids this cell; None if nothing is known or it does not."""
        if CANDIDATES[name].ours or name == FLOOR:
            return None
        n_power, d_power = (1, 2) if CANDIDATES[name].square_matrices else (2, 1)
        smaller = [
            (seconds * (cell.n / n) ** n_power * (cell.d / d) ** d_power, n, d, seconds)
            for n, d, seconds in self._seen.get(name, ())
            if (n == cell.n and d < cell.d) or (d == cell.d and n < cell.n)
        ]
        # The nearest foretells best, and that is the one from which least has to be multiplied.
        expected, n, d, seconds = min(smaller, default=(0.0, 0, 0, 0.0))
        if expected <= MAX_CALL_SECONDS:
            return None
        return f"too slow: about {expected:.0f} s a call, from {seconds:.2g} s at N = {n}, D = {d}"
