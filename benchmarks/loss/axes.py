"""Which shapes are measured unless --n and --d say otherwise, and which candidates there.

D at N = 256, N at D = 8192, and shapes between them for the map of speed-ups. All candidates at landmarks alone:
compiling and calling them everywhere would take a run more than twice as long.
"""

from benchmarks.shared.candidates import CANDIDATES, FLOOR, OURS

D_AXIS_N, D_AXIS = 256, [2**k for k in range(9, 21)]
N_AXIS_D, N_AXIS = 8192, [2**k for k in range(6, 14)]
BETWEEN = [(64, 512), (64, 2048), (64, 32768), (1024, 512), (1024, 2048), (1024, 32768), (4096, 512), (4096, 2048)]
AXES = sorted({*((D_AXIS_N, d) for d in D_AXIS), *((n, N_AXIS_D) for n in N_AXIS), *BETWEEN})

# Everything is measured at these, but peers only up to N = 256.
LANDMARKS = [(64, 8192), *((256, 2**k) for k in range(9, 18, 2)), (1024, 8192)]
PEERS = {"lightly", "solo_learn", "monai"}
ON_AXES = {OURS, "official", "gram", FLOOR}
ON_MAP = {OURS, "official"}


def wanted(n: int, d: int) -> set[str]:
    """The candidates that a run over AXES measures at (N, D)."""
    if (n, d) in LANDMARKS:
        return set(CANDIDATES) - (set() if n <= D_AXIS_N else PEERS)
    return ON_MAP if (n, d) in BETWEEN else ON_AXES
