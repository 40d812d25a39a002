"""The GEMM-only floor: just the matrix products that a formulation needs, into outputs allocated beforehand.

    gram          y_a y_a^T, y_b y_b^T, K_b y_a, K_a y_b                      8 N^2 D FLOPs
    correlation   C = y_a^T y_b, y_b C^T, y_a C                               6 N D^2 FLOPs

Nothing is read, standardized, reduced or scaled. The two products y y^T are whole products as the BLAS offers
them; a kernel that computes one triangle of each can come in below this floor.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from bt_kernels.formulation import choose_formulation


def floor_bytes(formulation: str, n: int, d: int, itemsize: int) -> int:
    """Memory of the floor's operands and outputs."""
    matrix = 2 * n * n if choose_formulation(formulation, n, d) == "gram" else d * d
    return (4 * n * d + matrix) * itemsize


def gemm_floor(
    y_a: Tensor,  # (N, D)
    y_b: Tensor,  # (N, D)
    formulation: str,
    forward_only: bool = False,
) -> Callable[[], None]:
    """A call that runs the products once; formulation "auto" takes the cheaper one."""
    n, d = y_a.shape
    dy_a, dy_b = torch.empty_like(y_a), torch.empty_like(y_b)
    if choose_formulation(formulation, n, d) == "correlation":
        c = y_a.new_empty(d, d)

        def correlation() -> None:
            torch.mm(y_a.T, y_b, out=c)
            if forward_only:
                return
            torch.mm(y_b, c.T, out=dy_a)
            torch.mm(y_a, c, out=dy_b)

        return correlation

    k_a, k_b = y_a.new_empty(n, n), y_a.new_empty(n, n)

    def gram() -> None:
        torch.mm(y_a, y_a.T, out=k_a)
        torch.mm(y_b, y_b.T, out=k_b)
        if forward_only:
            return
        torch.mm(k_b, y_a, out=dy_a)
        torch.mm(k_a, y_b, out=dy_b)

    return gram
