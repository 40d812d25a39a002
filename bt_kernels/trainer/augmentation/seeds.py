"""Random numbers that depend on a key alone: on no state, no process, and nothing drawn before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def mixed_seed(*key: int) -> int:
    """Return a seed in [0, 2**63) that depends on all the numbers, which are not negative, and on their order."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)


@contextmanager
def seeded(*key: int) -> Iterator[None]:
    """Seed PyTorch's CPU generator by ``key``, and leave it in the end as it was.

    ``torch.manual_seed`` would seed the GPUs' generators, too.
    """
    state = torch.get_rng_state()
    torch.default_generator.manual_seed(mixed_seed(*key))
    try:
        yield
    finally:
        torch.set_rng_state(state)
