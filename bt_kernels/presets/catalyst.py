"""Catalyst: catalyst.contrib.losses."""

from torch import Tensor

from bt_kernels import loss
from bt_kernels.option_attributes import Option


class BarlowTwinsLoss(loss.BarlowTwinsLoss):
    """catalyst.contrib.losses.BarlowTwinsLoss.

    Raises TypeError or ValueError for arguments that barlow_twins_loss refuses.
    """

    def __init__(
        self,
        offdiag_lambda: float | Tensor = 1.0,
        eps: float = 1e-12,
        *,
        formulation: str = "auto",
        backend: str = "auto",
    ) -> None:
        super().__init__(eps=eps, unbiased=True, formulation=formulation, backend=backend, process_group=None)
        self.offdiag_lambda = offdiag_lambda

    offdiag_lambda = Option("lambd")

    def forward(self, embeddings_left: Tensor, embeddings_right: Tensor) -> Tensor:  # (N, D), (N, D)
        """The loss, a scalar. Raises what barlow_twins_loss raises."""
        return super().forward(embeddings_left, embeddings_right)
