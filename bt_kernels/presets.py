"""The losses of other projects, by their own argument names and defaults: one line is exchanged, the numbers stay.

    from bt_kernels.presets import lightly as BarlowTwinsLoss    # was: from lightly.loss import BarlowTwinsLoss

Each preset is a function that returns a BarlowTwinsLoss with the project's loss and, where the same gradient
arrives on all ranks, its gradient, up to rounding. It takes the two views by position and has no attributes of the
project's own. solo-learn's loss is a function, and so is barlow_loss_func.

                         y of whose rows   eps                             gradient after DDP's averaging
    official             all ranks'        1e-5, to the variance           1/W of the joined batch's
    lightly              each rank's own   1e-5, to the variance           whole, if gather_distributed
    solo_learn           each rank's own   1e-5, to the variance           1/W
    stable_pretraining   each rank's own   1e-5, to the unbiased std       whole
    monai                each rank's own   1e-6, to the unbiased std       nothing is exchanged
    catalyst             each rank's own   1e-12, to the unbiased variance nothing is exchanged

official, solo_learn, stable_pretraining and lightly with gather_distributed take the default group if
torch.distributed is initialized at the time of the call, as these projects do; torch.compile then breaks the graph
at the loss. All take the keywords formulation
and backend of barlow_twins_loss besides.
"""

from __future__ import annotations

import torch.distributed as dist
from torch import Tensor

from bt_kernels.loss import BarlowTwinsLoss, barlow_twins_loss


def official(lambd: float = 0.0051, *, formulation: str = "auto", backend: str = "auto") -> BarlowTwinsLoss:
    """The authors' training loop, facebookresearch/barlowtwins main.py: from the two SyncBatchNorms on z1, z2 on.

    There C is divided by the batch size of the command line, here by the rows that there are: the same in full
    batches.

    Raises TypeError or ValueError for a lambd, formulation or backend that barlow_twins_loss refuses.
    """
    return BarlowTwinsLoss(
        lambd, formulation=formulation, backend=backend, process_group="auto", gradient="divided"
    )


def lightly(
    lambda_param: float = 5e-3,
    gather_distributed: bool = False,
    *,
    formulation: str = "auto",
    backend: str = "auto",
) -> BarlowTwinsLoss:
    """lightly.loss.BarlowTwinsLoss of lightly from 1.5.26 on; before, its gradient over ranks was 1/W of this.

    Raises TypeError or ValueError for arguments that barlow_twins_loss refuses, TypeError for a gather_distributed
    that is no bool, ValueError for one that is True where torch has no torch.distributed.
    """
    if not isinstance(gather_distributed, bool):
        raise TypeError(f"gather_distributed must be True or False, got {gather_distributed!r}")
    if gather_distributed and not dist.is_available():
        raise ValueError("gather_distributed=True needs a torch that is built with torch.distributed")
    return BarlowTwinsLoss(
        lambda_param,
        formulation=formulation,
        backend=backend,
        process_group="auto" if gather_distributed else None,
        statistics="local",
    )


def solo_learn(
    lamb: float = 5e-3, scale_loss: float = 0.025, *, formulation: str = "auto", backend: str = "auto"
) -> BarlowTwinsLoss:
    """solo.losses.barlow.barlow_loss_func as a module.

    Raises TypeError or ValueError for arguments that barlow_twins_loss refuses.
    """
    return BarlowTwinsLoss(
        lamb,
        scale=scale_loss,
        formulation=formulation,
        backend=backend,
        process_group="auto",
        gradient="divided",
        statistics="local",
    )


def barlow_loss_func(
    z1: Tensor,  # (N, D)
    z2: Tensor,  # (N, D)
    lamb: float = 5e-3,
    scale_loss: float = 0.025,
) -> Tensor:
    """solo.losses.barlow.barlow_loss_func, the call itself. Raises what barlow_twins_loss raises."""
    return barlow_twins_loss(
        z1, z2, lambd=lamb, scale=scale_loss, process_group="auto", gradient="divided", statistics="local"
    )


def stable_pretraining(
    lambd: float = 5e-3, *, formulation: str = "auto", backend: str = "auto"
) -> BarlowTwinsLoss:
    """stable_pretraining.losses.BarlowTwinsLoss. Its eps is added to the standard deviation; see eps_added_to.

    Raises TypeError or ValueError for arguments that barlow_twins_loss refuses.
    """
    return BarlowTwinsLoss(
        lambd,
        unbiased=True,
        formulation=formulation,
        backend=backend,
        process_group="auto",
        statistics="local",
        eps_added_to="std",
    )


def monai(lambd: float = 5e-3, *, formulation: str = "auto", backend: str = "auto") -> BarlowTwinsLoss:
    """monai.losses.BarlowTwinsLoss. Its eps is added to the standard deviation; see eps_added_to.

    MONAI rounds lambd to float32, which is seen with float64 embeddings alone: 6e-8 of lambd at most.

    Raises TypeError or ValueError for arguments that barlow_twins_loss refuses.
    """
    return BarlowTwinsLoss(
        lambd,
        eps=1e-6,
        unbiased=True,
        formulation=formulation,
        backend=backend,
        process_group=None,
        eps_added_to="std",
    )


def catalyst(
    offdiag_lambda: float = 1.0, eps: float = 1e-12, *, formulation: str = "auto", backend: str = "auto"
) -> BarlowTwinsLoss:
    """catalyst.contrib.losses.BarlowTwinsLoss.

    Raises TypeError or ValueError for arguments that barlow_twins_loss refuses.
    """
    return BarlowTwinsLoss(
        offdiag_lambda,
        eps=eps,
        unbiased=True,
        formulation=formulation,
        backend=backend,
        process_group=None,
    )
