"""The loss beside its two terms."""

from typing import NamedTuple

from torch import Tensor


class LossTerms(NamedTuple):
    """loss = scale * (on_diagonal + lambd * off_diagonal). All are scalars, and each can be differentiated."""

    loss: Tensor
    """(), the weighted sum of both terms"""
    on_diagonal: Tensor
    """(), the invariance term: sum_i (1 - C_ii)^2"""
    off_diagonal: Tensor
    """(), the redundancy-reduction term without lambd: sum_{i != j} C_ij^2"""
