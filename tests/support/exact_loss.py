"""The loss and its gradient in 80 decimal digits: what float64 itself is held to, where rounding is all there is.

The formula once more, in Python's decimal numbers, and a gradient of central differences: nothing is shared with
the reference or the backends, the gradient's formula included.
"""

from decimal import Decimal, localcontext

import torch
from torch import Tensor

DIGITS, STEP = 80, Decimal("1e-32")
Columns = list[list[Decimal]]  # D features of N samples


def standardized(columns: Columns, eps: Decimal, unbiased: bool) -> Columns:
    n, result = len(columns[0]), []
    for column in columns:
        mean = sum(column) / n
        centred = [x - mean for x in column]
        variance = sum(x * x for x in centred) / (n - int(unbiased))
        result.append([x / (variance + eps).sqrt() for x in centred])
    return result


def loss_of(a: Columns, b: Columns, lambd: float, eps: float, unbiased: bool) -> Decimal:
    y_a, y_b = (standardized(x, Decimal(eps), unbiased) for x in (a, b))
    total = Decimal(0)
    for i, own in enumerate(y_a):
        for j, other in enumerate(y_b):
            c = sum(x * y for x, y in zip(own, other, strict=True)) / len(own)
            total += (1 - c) ** 2 if i == j else Decimal(lambd) * c**2
    return total


def exact_loss(
    z_a: Tensor,  # (N, D) float64
    z_b: Tensor,  # (N, D)
    lambd: float = 0.0051,
    eps: float = 1e-5,
    unbiased: bool = False,
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """The loss, and its gradients for z_a and z_b, rounded to float64 once."""
    with localcontext(prec=DIGITS):
        views = [[list(map(Decimal, column)) for column in z.T.tolist()] for z in (z_a, z_b)]
        gradients = [torch.empty_like(z) for z in (z_a, z_b)]
        for view, gradient in zip(views, gradients, strict=True):
            for feature, column in enumerate(view):
                for sample, value in enumerate(column):
                    losses = []
                    for moved in (value + STEP, value - STEP):
                        column[sample] = moved
                        losses.append(loss_of(*views, lambd, eps, unbiased))
                    column[sample] = value
                    gradient[sample, feature] = float((losses[0] - losses[1]) / (2 * STEP))
        loss = loss_of(*views, lambd, eps, unbiased)
    return torch.tensor(float(loss), dtype=torch.float64), (gradients[0], gradients[1])
