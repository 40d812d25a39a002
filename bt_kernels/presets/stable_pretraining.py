"""stable-pretraining: stable_pretraining.losses."""

from torch import Tensor

from bt_kernels import loss


class BarlowTwinsLoss(loss.BarlowTwinsLoss):
    """stable_pretraining.losses.BarlowTwinsLoss. Its eps is added to the standard deviation; see eps_added_to.

    Raises TypeError or ValueError for a lambd, formulation or backend that barlow_twins_loss refuses.
    """

    def __init__(self, lambd: float | Tensor = 5e-3, *, formulation: str = "auto", backend: str = "auto") -> None:
        super().__init__(
            lambd,
            unbiased=True,
            formulation=formulation,
            backend=backend,
            process_group="auto",
            statistics="local",
            eps_added_to="std",
        )

    def forward(self, z_i: Tensor, z_j: Tensor) -> Tensor:  # (N, D), (N, D)
        """The loss, a scalar. Raises what barlow_twins_loss raises."""
        return super().forward(z_i, z_j)
