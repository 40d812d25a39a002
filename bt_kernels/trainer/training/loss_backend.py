"""Which backend computes a run's loss: known, and said, before the first step."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bt_kernels.backends.registry import available_backends, choose_backend
from bt_kernels.trainer.errors import TrainerError


@dataclass(frozen=True)
class LossBackend:
    """A backend that works here.

    Args:
        name: As ``barlow_twins_loss`` takes it.
        passed_over: Of the faster ones that "auto" would have taken, why each cannot run; empty if it took the
        first.
    """

    name: str
    passed_over: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name + (f" ({'; '.join(self.passed_over)})" if self.passed_over else "")


def take_backend(requested: str, device: torch.device, dtype: torch.dtype) -> LossBackend:
    """Resolve a ``loss_backend`` option.

    Args:
        requested: A backend's name or "auto".
        device: Of the embeddings.
        dtype: Of the embeddings.

    Raises:
        TrainerError: the backend that is asked for by name cannot run there.
    """
    try:
        name = choose_backend(requested, device, dtype)
    except RuntimeError as error:
        raise TrainerError(f"--loss-backend {requested} is not possible: {error}") from error
    if requested != "auto":
        return LossBackend(name)
    found = available_backends(device, dtype)
    faster = list(found)[: list(found).index(name)]
    return LossBackend(name, tuple(f"no {other}: {found[other].reason}" for other in faster))
