"""The authors' code: main.py of facebookresearch/barlowtwins."""

from torch import Tensor

from bt_kernels import loss


class BarlowTwinsLoss(loss.BarlowTwinsLoss):
    """What the authors' model does from its two SyncBatchNorms on z1, z2 on; there it has no name of its own.

    There C is divided by the batch size of the command line, here by the rows that there are: the same in full
    batches. Their checkpoints hold the running statistics of the batch norm, `bn`, which the loss does not use: a
    model without `bn` loads them with strict=False.

    Raises TypeError or ValueError for a lambd, formulation or backend that barlow_twins_loss refuses.
    """

    def __init__(
        self, lambd: float | Tensor = 0.0051, *, formulation: str = "auto", backend: str = "auto"
    ) -> None:
        super().__init__(lambd, formulation=formulation, backend=backend, process_group="auto", gradient="divided")

    def forward(self, z1: Tensor, z2: Tensor) -> Tensor:  # (N, D), (N, D)
        """The loss, a scalar. Raises what barlow_twins_loss raises."""
        return super().forward(z1, z2)
