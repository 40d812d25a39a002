"""solo-learn: solo.losses.barlow."""

from torch import Tensor

from bt_kernels.loss import barlow_twins_loss


def barlow_loss_func(
    z1: Tensor,  # (N, D)
    z2: Tensor,  # (N, D)
    lamb: float | Tensor = 5e-3,
    scale_loss: float | Tensor = 0.025,
    *,
    formulation: str = "auto",
    backend: str = "auto",
) -> Tensor:
    """solo.losses.barlow.barlow_loss_func. Returns the loss, a scalar. Raises what barlow_twins_loss raises."""
    return barlow_twins_loss(
        z1,
        z2,
        lambd=lamb,
        scale=scale_loss,
        formulation=formulation,
        backend=backend,
        process_group="auto",
        gradient="divided",
        statistics="local",
    )
