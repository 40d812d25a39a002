"""MONAI: monai.losses."""

from torch import Tensor

from bt_kernels import loss


class BarlowTwinsLoss(loss.BarlowTwinsLoss):
    """monai.losses.BarlowTwinsLoss. Its eps is added to the standard deviation; see eps_added_to.

    MONAI rounds lambd to float32, which is seen with float64 embeddings alone: 6e-8 of lambd at most.

    Raises TypeError or ValueError for a lambd, formulation or backend that barlow_twins_loss refuses.
    """

    def __init__(self, lambd: float | Tensor = 5e-3, *, formulation: str = "auto", backend: str = "auto") -> None:
        super().__init__(
            lambd,
            eps=1e-6,
            unbiased=True,
            formulation=formulation,
            backend=backend,
            process_group=None,
            eps_added_to="std",
        )

    def forward(self, input: Tensor, target: Tensor) -> Tensor:  # (N, D), (N, D)
        """The loss, a scalar. Raises what barlow_twins_loss raises."""
        return super().forward(input, target)
