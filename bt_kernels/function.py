"""The one torch.autograd.Function: saves what the backend's forward returns, calls its backward."""

import contextlib

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from bt_kernels.backends.registry import BACKENDS
from bt_kernels.backends.stages import RESIDUALS, OutputGradients
from bt_kernels.options import LossOptions


def without_autocast(device: torch.device) -> contextlib.AbstractContextManager:
    """Keeps an active autocast from rounding the backend's own products to 16 bits."""
    if torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return contextlib.nullcontext()


class BarlowTwinsFunction(torch.autograd.Function):
    """(z_a, z_b) -> (loss, on_diagonal, off_diagonal), all differentiable once."""

    @staticmethod
    def forward(
        ctx,
        z_a: Tensor,  # (N, D)
        z_b: Tensor,  # (N, D)
        options: LossOptions,
        formulation: str,
        backend: str,
        needs_backward: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        stages = BACKENDS[backend]
        forward = stages.gram_forward if formulation == "gram" else stages.correlation_forward
        with without_autocast(z_a.device):
            terms, residuals = forward(z_a, z_b, options, needs_backward)
        if needs_backward:
            ctx.save_for_backward(z_a, z_b, *residuals)
            ctx.options, ctx.formulation, ctx.backend = options, formulation, backend
            ctx.set_materialize_grads(False)
        return terms

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_loss, grad_on_diagonal, grad_off_diagonal):
        z_a, z_b, *residuals = ctx.saved_tensors
        stages = BACKENDS[ctx.backend]
        backward = stages.gram_backward if ctx.formulation == "gram" else stages.correlation_backward
        with without_autocast(z_a.device):
            dz_a, dz_b = backward(
                OutputGradients(grad_loss, grad_on_diagonal, grad_off_diagonal),
                z_a,
                z_b,
                RESIDUALS[ctx.formulation](*residuals),
                ctx.options,
                ctx.needs_input_grad[:2],
            )
        return dz_a, dz_b, None, None, None, None
