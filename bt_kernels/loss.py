"""The public face: barlow_twins_loss and BarlowTwinsLoss. Checks the input, resolves the options, returns the loss."""

from dataclasses import fields
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bt_kernels.backends.registry import choose_backend
from bt_kernels.formulation import choose_formulation
from bt_kernels.function import BarlowTwinsFunction
from bt_kernels.options import LossOptions

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


class LossTerms(NamedTuple):
    """loss = scale * (on_diagonal + lambd * off_diagonal); all three are scalars that can be differentiated."""

    loss: Tensor  # ()
    on_diagonal: Tensor  # () invariance term, sum_i (1 - C_ii)^2
    off_diagonal: Tensor  # () redundancy-reduction term before lambd, sum_{i != j} C_ij^2


def check_embeddings(z_a: Tensor, z_b: Tensor) -> None:
    """Raises TypeError or ValueError unless z_a and z_b are two views' embeddings that the loss is defined for."""
    for name, z in (("z_a", z_a), ("z_b", z_b)):
        if not isinstance(z, Tensor):
            raise TypeError(f"{name} must be a torch.Tensor of shape (N, D), got {type(z).__name__}")
        if z.layout != torch.strided or z.is_nested:
            kind = "a nested tensor" if z.is_nested else f"layout {z.layout}"
            raise TypeError(f"{name} must be a dense (strided) tensor, got {kind}")
        if z.dtype not in DTYPES:
            raise TypeError(f"{name} must be float64, float32, bfloat16 or float16, got {z.dtype}")
        if z.dim() != 2:
            raise ValueError(f"{name} must have shape (N, D), got {tuple(z.shape)}")
    if z_a.shape != z_b.shape:
        raise ValueError(f"z_a and z_b must have the same shape, got {tuple(z_a.shape)} and {tuple(z_b.shape)}")
    if z_a.dtype != z_b.dtype:
        raise TypeError(f"z_a and z_b must have the same dtype, got {z_a.dtype} and {z_b.dtype}")
    if z_a.device != z_b.device:
        raise ValueError(f"z_a and z_b must be on the same device, got {z_a.device} and {z_b.device}")
    n, d = z_a.shape
    if n < 2:
        raise ValueError(f"the batch statistics need N >= 2 samples, got shape (N, D) = {(n, d)}")
    if d < 1:
        raise ValueError(f"the embeddings need D >= 1 features, got shape (N, D) = {(n, d)}")


def compute_terms(z_a: Tensor, z_b: Tensor, options: LossOptions) -> LossTerms:
    """The loss and its two terms for validated options; see barlow_twins_loss."""
    check_embeddings(z_a, z_b)
    formulation = choose_formulation(options.formulation, *z_a.shape)
    backend = choose_backend(options.backend, z_a.device, z_a.dtype)
    # Asked here, because autograd turns grad mode off inside Function.forward.
    needs_backward = torch.is_grad_enabled() and (z_a.requires_grad or z_b.requires_grad)
    return LossTerms(*BarlowTwinsFunction.apply(z_a, z_b, options, formulation, backend, needs_backward))


def barlow_twins_loss(
    z_a: Tensor,  # (N, D)
    z_b: Tensor,  # (N, D)
    *,
    lambd: float = 0.0051,
    scale: float = 1.0,
    eps: float = 1e-5,
    unbiased: bool = False,
    formulation: str = "auto",
    backend: str = "auto",
    return_terms: bool = False,
) -> Tensor | LossTerms:
    """Barlow Twins loss of two views' embeddings (Zbontar et al., ICML 2021, eq. 1 and 2).

    With y the embeddings standardized per feature over the batch and C = y_a^T y_b / N their cross-correlation:

        loss = scale * (sum_i (1 - C_ii)^2 + lambd * sum_{i != j} C_ij^2)

    The defaults are those of the authors' code. No D x D matrix is formed when N < D.

    Args:
        z_a, z_b: embeddings, (N, D), N >= 2, any strides; float64, float32, bfloat16 or float16. Under autocast they
            are taken in the dtype they arrive in; everything is accumulated in float32 or wider.
        lambd: weight of the redundancy-reduction term.
        scale: multiplies the loss.
        eps: added to the variance inside the square root.
        unbiased: divide the variance by N - 1 (C is divided by N all the same).
        formulation: "correlation" (D x D), "gram" (N x N) or "auto", the cheaper one.
        backend: "cuda" (CUDA C++), "triton" (GPU), "cpu" (C++), "eager" (plain PyTorch) or "auto", the fastest that
            works here.
        return_terms: return LossTerms(loss, on_diagonal, off_diagonal) instead of the loss alone.

    Returns:
        The loss, a scalar: float64 for float64 embeddings, else float32. NaN or Inf in the embeddings gives NaN.

    Raises:
        TypeError: an argument has the wrong type or dtype.
        ValueError: shapes, devices or option values that the loss is not defined for.
        RuntimeError: a backend was asked for by name and cannot run here; the message says why.
    """
    options = LossOptions(lambd, scale, eps, unbiased, formulation, backend)
    terms = compute_terms(z_a, z_b, options)
    return terms if return_terms else terms.loss


class BarlowTwinsLoss(nn.Module):
    """barlow_twins_loss as a module without parameters or buffers; the same options, checked at construction."""

    def __init__(
        self,
        lambd: float = 0.0051,
        scale: float = 1.0,
        eps: float = 1e-5,
        unbiased: bool = False,
        formulation: str = "auto",
        backend: str = "auto",
        return_terms: bool = False,
    ) -> None:
        super().__init__()
        self.options = LossOptions(lambd, scale, eps, unbiased, formulation, backend)
        self.return_terms = return_terms

    def forward(self, z_a: Tensor, z_b: Tensor) -> Tensor | LossTerms:  # (N, D), (N, D)
        terms = compute_terms(z_a, z_b, self.options)
        return terms if self.return_terms else terms.loss

    def extra_repr(self) -> str:
        changed = [f for f in fields(LossOptions) if getattr(self.options, f.name) != f.default or f.name == "lambd"]
        return ", ".join(f"{f.name}={getattr(self.options, f.name)!r}" for f in changed)
