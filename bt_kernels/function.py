"""The one torch.autograd.Function: saves what the backend's forward returns, calls its backward."""

import contextlib

import torch
from torch import Tensor

from bt_kernels.backends.stages import Batch, OutputGradients, Stages
from bt_kernels.options import LossOptions


def without_autocast(device: torch.device) -> contextlib.AbstractContextManager:
    """Keeps an active autocast from rounding the backend's own products to 16 bits."""
    if torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return contextlib.nullcontext()


class DifferentiableOnce(torch.autograd.Function):
    """Passes a gradient on, and raises where someone differentiates it again.

    torch's once_differentiable raises only if the incoming gradient requires a gradient itself. A gradient penalty
    comes without one, and its own gradient would silently be left out.
    """

    @staticmethod
    def forward(ctx, gradient: Tensor, z_a: Tensor, z_b: Tensor) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx, _):
        raise RuntimeError("the Barlow Twins loss can be differentiated once: it has no double backward")


class BarlowTwinsFunction(torch.autograd.Function):
    """(z_a, z_b) -> (loss, on_diagonal, off_diagonal), all differentiable once."""

    @staticmethod
    def forward(
        ctx,
        z_a: Tensor,  # (N, D)
        z_b: Tensor,  # (N, D)
        options: LossOptions,
        formulation: str,
        stages: Stages,
        needs_backward: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        forward = stages.gram_forward if formulation == "gram" else stages.correlation_forward
        with without_autocast(z_a.device):
            terms, residuals = forward(z_a, z_b, options, needs_backward)
        if residuals is not None:
            ctx.save_for_backward(z_a, z_b, *residuals)
            ctx.options, ctx.formulation, ctx.stages = options, formulation, stages
            ctx.set_materialize_grads(False)
        return terms

    @staticmethod
    def backward(ctx, grad_loss, grad_on_diagonal, grad_off_diagonal):
        z_a, z_b, *kept = ctx.saved_tensors
        backward = ctx.stages.gram_backward if ctx.formulation == "gram" else ctx.stages.correlation_backward
        with torch.no_grad(), without_autocast(z_a.device):
            dz_a, dz_b = backward(
                OutputGradients(grad_loss, grad_on_diagonal, grad_off_diagonal),
                z_a,
                z_b,
                tuple(kept),
                ctx.options,
                Batch(correction=int(ctx.options.unbiased)),
                ctx.needs_input_grad[:2],
            )
        if torch.is_grad_enabled():  # create_graph=True
            dz_a, dz_b = (dz if dz is None else DifferentiableOnce.apply(dz, z_a, z_b) for dz in (dz_a, dz_b))
        return dz_a, dz_b, None, None, None, None
