"""The loss beside its two terms."""

from typing import NamedTuple

from torch import Tensor


class LossTerms(NamedTuple):
    """loss = scale * (on_diagonal + lambd * off_diagonal); all three are scalars that can be differentiated."""

    loss: Tensor
    """()"""
    on_diagonal: Tensor
    """() invariance term, sum_i (1 - C_ii)^2"""
    off_diagonal: Tensor
    """() redundancy-reduction term before lambd, sum_{i != j} C_ij^2"""
