"""The way of a call whose batch is spread over ranks: agree, choose a formulation, put the stages together, apply."""

import dataclasses
from collections.abc import Callable
from typing import NoReturn

import torch
from torch import Tensor

from bt_kernels.backends.eager import standardize
from bt_kernels.backends.registry import BACKENDS, choose_backend
from bt_kernels.backends.stages import Backend, Batch, OutputGradients, Residuals, Terms, accumulation_dtype
from bt_kernels.distributed import correlation, gram
from bt_kernels.distributed.agreement import agree
from bt_kernels.distributed.cost import choose_distributed_formulation
from bt_kernels.distributed.exchange import Layout, add_up
from bt_kernels.distributed.group import ranks_of
from bt_kernels.distributed.options import DistributedOptions
from bt_kernels.function import BarlowTwinsFunction
from bt_kernels.options import LossOptions


class GlobalBatch:
    """A backend's stages with collectives between them: to BarlowTwinsFunction a backend like any other, whose
    embeddings are this rank's rows, (n, D), and whose terms are those of all ranks' rows."""

    def __init__(self, layout: Layout, backend: Backend, gradient: str, standardized: bool) -> None:
        self.layout, self.backend = layout, backend
        self.gradient, self.standardized = gradient, standardized

    def gram_forward(
        self, z_a: Tensor, z_b: Tensor, options: LossOptions, needs_backward: bool
    ) -> tuple[Terms, Residuals | None]:
        return gram.forward(z_a, z_b, self.layout, self.backend, options, self.standardized, needs_backward)

    def gram_backward(
        self,
        gradients: OutputGradients,
        z_a: Tensor,
        z_b: Tensor,
        residuals: Residuals,
        options: LossOptions,
        batch: Batch,
        needs: tuple[bool, bool],
    ) -> tuple[Tensor | None, Tensor | None]:
        gradients = self.of_all_ranks(gradients, z_a)
        return gram.backward(gradients, residuals, self.layout, self.backend, options, self.batch(options), needs)

    def correlation_forward(
        self, z_a: Tensor, z_b: Tensor, options: LossOptions, needs_backward: bool
    ) -> tuple[Terms, Residuals | None]:
        return correlation.forward(z_a, z_b, self.layout, self.backend, options, self.standardized, needs_backward)

    def correlation_backward(
        self,
        gradients: OutputGradients,
        z_a: Tensor,
        z_b: Tensor,
        residuals: Residuals,
        options: LossOptions,
        batch: Batch,
        needs: tuple[bool, bool],
    ) -> tuple[Tensor | None, Tensor | None]:
        gradients = self.of_all_ranks(gradients, z_a)
        return correlation.backward(
            gradients, z_a, z_b, residuals, self.layout, self.backend, options, self.batch(options), needs
        )

    def batch(self, options: LossOptions) -> Batch:
        return Batch(self.layout.n, None if self.standardized else int(options.unbiased))

    def of_all_ranks(self, gradients: OutputGradients, z: Tensor) -> OutputGradients:
        """Every rank's loss is a function of every rank's rows: what arrives at all of them counts, added up."""
        dtype = accumulation_dtype(z.dtype)
        zero = torch.zeros((), dtype=dtype, device=z.device)
        total = add_up(torch.stack([zero if g is None else g.to(dtype) for g in gradients]), self.layout.ranks)
        if self.gradient == "divided":
            total /= self.layout.ranks.size
        return OutputGradients(*total.unbind())


def standardize_locally(z: Tensor, options: LossOptions, weight: float) -> Tensor:  # (n, D) -> (n, D)
    """Over this rank's rows alone, as an ordinary part of the graph.

    Float32 for 16-bit embeddings, and on the wire too: the loss needs 1 - C_ii, and the standardization's backward the
    difference of large numbers, neither of which would outlive a rounding to 16 bits in between.
    """
    return standardize(z, options.eps, options.unbiased).y * weight


def travelling_dtype(z: Tensor, distributed: DistributedOptions) -> torch.dtype:
    return accumulation_dtype(z.dtype) if distributed.statistics == "local" else z.dtype


def raise_on_every_rank(process_group: object, error: Exception) -> NoReturn:
    """Raises an error of this rank's arguments on the others as well, which are about to wait for it."""
    group = DistributedOptions(process_group).process_group

    def fail() -> None:
        raise error

    agree(ranks_of(group), torch.empty(0, 0), torch.empty(0, 0), LossOptions(), DistributedOptions(group), fail)
    raise AssertionError("agree raises what one rank reports")


# Dynamo can neither trace the exchange whose outcome decides the shapes that follow, nor should it try to.
@torch.compiler.disable(reason="the Barlow Twins loss over a process_group exchanges shapes between processes")
def global_batch_terms(
    z_a: Tensor,  # (n, D), n this rank's own
    z_b: Tensor,  # (n, D)
    options: LossOptions,
    distributed: DistributedOptions,
    check: Callable[[], None],  # of z_a and z_b on this rank
) -> Terms:
    """The loss and its terms of the joined batch, the same on every rank; see barlow_twins_loss."""
    ranks = ranks_of(distributed.process_group)

    def check_all() -> None:
        check()
        choose_backend(options.backend, z_a.device, travelling_dtype(z_a, distributed))

    rows = agree(ranks, z_a, z_b, options, distributed, check_all)
    d, dtype = z_a.shape[1], travelling_dtype(z_a, distributed)
    backend = BACKENDS[choose_backend(options.backend, z_a.device, dtype)]
    formulation = choose_distributed_formulation(options.formulation, rows, d, dtype.itemsize, z_a.device.type)
    needs_backward = torch.is_grad_enabled() and (z_a.requires_grad or z_b.requires_grad)
    local = distributed.statistics == "local" and ranks.size > 1
    if local:
        # C is the mean of the ranks' own, whatever their numbers of rows: to a sum that is divided by N, a rank brings
        # y^T y / n * N / W.
        weight = (sum(rows) / (ranks.size * z_a.shape[0])) ** 0.5
        z_a, z_b = (standardize_locally(z, options, weight) for z in (z_a, z_b))
        options = dataclasses.replace(options, eps=1.0)  # see Batch
    stages: Backend = backend
    if ranks.size > 1:
        stages = GlobalBatch(Layout(ranks, rows, d), backend, distributed.gradient, local)
    return BarlowTwinsFunction.apply(z_a, z_b, options, formulation, stages, needs_backward)
