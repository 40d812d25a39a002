"""lightly: lightly.loss."""

from __future__ import annotations

from typing import Any

import torch.distributed as dist
from torch import Tensor

from bt_kernels import loss
from bt_kernels.option_attributes import Option


class GatherDistributed(Option):
    """The process_group as lightly has it: the default group where there is one, or none."""

    def __get__(self, module: loss.BarlowTwinsLoss | None, owner: type) -> Any:
        return self if module is None else super().__get__(module, owner) is not None

    def __set__(self, module: loss.BarlowTwinsLoss, value: Any) -> None:
        if not isinstance(value, bool):
            raise TypeError(f"gather_distributed must be True or False, got {value!r}")
        if value and not dist.is_available():
            raise ValueError("gather_distributed=True needs a torch that is built with torch.distributed")
        super().__set__(module, "auto" if value else None)


class BarlowTwinsLoss(loss.BarlowTwinsLoss):
    """lightly.loss.BarlowTwinsLoss of lightly from 1.5.26 on; before, its gradient over ranks was 1/W of this.

    Raises TypeError or ValueError for arguments that barlow_twins_loss refuses, TypeError for a gather_distributed
    that is no bool, ValueError for one that is True where torch has no torch.distributed.
    """

    def __init__(
        self,
        lambda_param: float | Tensor = 5e-3,
        gather_distributed: bool = False,
        *,
        formulation: str = "auto",
        backend: str = "auto",
    ) -> None:
        super().__init__(formulation=formulation, backend=backend, process_group=None, statistics="local")
        self.lambda_param = lambda_param
        self.gather_distributed = gather_distributed

    lambda_param = Option("lambd")
    gather_distributed = GatherDistributed("process_group")

    def forward(self, z_a: Tensor, z_b: Tensor) -> Tensor:  # (N, D), (N, D)
        """The loss, a scalar. Raises what barlow_twins_loss raises."""
        return super().forward(z_a, z_b)
