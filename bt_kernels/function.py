"""The one torch.autograd.Function: saves what the backend's forward returns, calls its backward.

torch.func.grad and what is made of it demand another form of a Function, whose calls cost more: both of them are
here in that form, too.
"""

import contextlib

import torch
from torch import Tensor

from bt_kernels.backends.stages import Batch, OutputGradients, Residuals, Stages, Terms
from bt_kernels.options import LossOptions
from bt_kernels.torch_versions import is_autocast_available
from bt_kernels.weighting import is_constant, weighted_loss


def without_autocast(device: torch.device) -> contextlib.AbstractContextManager:
    """Keeps an active autocast from rounding the backend's own products to 16 bits."""
    if is_autocast_available(device.type) and torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return contextlib.nullcontext()


ONCE = "the Barlow Twins loss can be differentiated once: it has no double backward"


class DifferentiableOnce(torch.autograd.Function):
    """Passes a gradient on, and raises where someone differentiates it again: by the embeddings or by the outputs'
    gradients, which it is made of.

    torch's once_differentiable raises only if the incoming gradient requires a gradient itself. A gradient penalty
    comes without one, and its own gradient would silently be left out.
    """

    @staticmethod
    def forward(ctx, gradient: Tensor, *made_of: Tensor | None) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx, _):
        raise RuntimeError(ONCE)


class TransformableOnce(torch.autograd.Function):
    """DifferentiableOnce, as torch.func takes it."""

    generate_vmap_rule = True  # jacrev batches the backward

    @staticmethod
    def forward(gradient: Tensor, *made_of: Tensor | None) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        pass

    @staticmethod
    def backward(ctx, _):
        raise RuntimeError(ONCE)


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
    ) -> Terms:
        terms, residuals = run_forward(z_a, z_b, options, formulation, stages, needs_backward)
        if residuals is not None:
            save(ctx, z_a, z_b, residuals, options, formulation, stages)
        return terms

    @staticmethod
    def backward(ctx, *gradients: Tensor | None):
        dz_a, dz_b = run_backward(ctx, *gradients)
        if torch.is_grad_enabled():  # create_graph=True
            made_of = *ctx.saved_tensors[:2], *gradients
            dz_a, dz_b = (dz if dz is None else DifferentiableOnce.apply(dz, *made_of) for dz in (dz_a, dz_b))
        return dz_a, dz_b, None, None, None, None


class TransformableFunction(torch.autograd.Function):
    """BarlowTwinsFunction, as torch.func takes it: what is saved has to be an output."""

    @staticmethod
    def forward(z_a, z_b, options, formulation, stages, needs_backward) -> tuple[Tensor, ...]:
        terms, residuals = run_forward(z_a, z_b, options, formulation, stages, needs_backward)
        return *terms, *(residuals or ())

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        z_a, z_b, options, formulation, stages, needs_backward = inputs
        residuals = output[3:]
        ctx.mark_non_differentiable(*residuals)
        if needs_backward:
            save(ctx, z_a, z_b, residuals, options, formulation, stages)

    @staticmethod
    def backward(ctx, *gradients: Tensor | None):
        gradients = gradients[:3]
        made_of = *ctx.saved_tensors[:2], *gradients
        dz_a, dz_b = (
            dz if dz is None else TransformableOnce.apply(dz, *made_of) for dz in run_backward(ctx, *gradients)
        )
        return dz_a, dz_b, None, None, None, None


def differentiable(
    z_a: Tensor,  # (N, D)
    z_b: Tensor,  # (N, D)
    options: LossOptions,
    formulation: str,
    stages: Stages,
    needs_backward: bool,
) -> Terms:
    """The stages' forward, with their backward behind it."""
    if is_constant(options.lambd) and is_constant(options.scale):
        return apply(z_a, z_b, options, formulation, stages, needs_backward)
    # dataclasses.replace(options, lambd=0.0, scale=1.0), which Dynamo of torch 2.6 cannot trace.
    unweighted = LossOptions(
        0.0, 1.0, options.eps, options.unbiased, options.formulation, options.backend, options.eps_added_to
    )
    _, on_diagonal, off_diagonal = apply(z_a, z_b, unweighted, formulation, stages, needs_backward)
    loss = weighted_loss(on_diagonal, off_diagonal, options.lambd, options.scale)
    return loss, on_diagonal, off_diagonal


def apply(
    z_a: Tensor, z_b: Tensor, options: LossOptions, formulation: str, stages: Stages, needs_backward: bool
) -> Terms:
    """The Function, in the form that the call needs."""
    if not torch.compiler.is_compiling() and torch._C._are_functorch_transforms_active():
        return TransformableFunction.apply(z_a, z_b, options, formulation, stages, needs_backward)[:3]
    return BarlowTwinsFunction.apply(z_a, z_b, options, formulation, stages, needs_backward)


def run_forward(
    z_a: Tensor, z_b: Tensor, options: LossOptions, formulation: str, stages: Stages, needs_backward: bool
) -> tuple[Terms, Residuals | None]:
    forward = stages.gram_forward if formulation == "gram" else stages.correlation_forward
    with without_autocast(z_a.device):
        return forward(z_a, z_b, options, needs_backward)


def save(
    ctx, z_a: Tensor, z_b: Tensor, residuals: Residuals, options: LossOptions, formulation: str, stages: Stages
) -> None:
    ctx.save_for_backward(z_a, z_b, *residuals)
    ctx.options, ctx.formulation, ctx.stages = options, formulation, stages
    ctx.set_materialize_grads(False)


def run_backward(ctx, *gradients: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    z_a, z_b, *residuals = ctx.saved_tensors
    backward = ctx.stages.gram_backward if ctx.formulation == "gram" else ctx.stages.correlation_backward
    with torch.no_grad(), without_autocast(z_a.device):
        return backward(
            OutputGradients(*gradients),
            z_a,
            z_b,
            tuple(residuals),
            ctx.options,
            Batch(),
            ctx.needs_input_grad[:2],
        )
