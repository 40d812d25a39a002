"""The correlation form over ranks: every rank keeps its samples, the D x D matrix is added up.

statistics    of the whole batch, two small all-reduces, three for float64
partial       the backend: C of these samples
all-reduce    C, with C_ii on its diagonal
total         the backend, on every rank: the terms, and C as the backward takes it
backward      the backend: dz of these samples, which needs no other rank, since q follows from C
"""

import torch
from torch import Tensor

from bt_kernels.backends.stages import Batch, OutputGradients, Residuals, Terms, accumulation_dtype
from bt_kernels.distributed.exchange import add_up
from bt_kernels.distributed.global_batch import GlobalBatch
from bt_kernels.distributed.statistics import as_they_are, global_statistics
from bt_kernels.options import LossOptions


def forward(
    of: GlobalBatch,
    z_a: Tensor,  # (n, D)
    z_b: Tensor,  # (n, D)
    options: LossOptions,
    needs_backward: bool,
) -> tuple[Terms, Residuals | None]:
    layout, backend = of.layout, of.backend
    statistics = as_they_are(z_a) if of.standardized else global_statistics(z_a, z_b, layout, options)
    if layout.own_rows:
        c, residuals = backend.correlation_partial(z_a, z_b, statistics, layout.n, needs_backward)
    else:
        c = torch.zeros(layout.d, layout.d, dtype=accumulation_dtype(z_a.dtype), device=z_a.device)
        residuals = ()
    add_up(c, layout.ranks)
    terms, of_c = backend.correlation_total(c, layout.n, z_a.dtype, options, needs_backward)
    return terms, (*residuals, *of_c) if needs_backward else None


def backward(
    of: GlobalBatch,
    gradients: OutputGradients,
    z_a: Tensor,
    z_b: Tensor,
    residuals: Residuals,
    options: LossOptions,
    batch: Batch,
    needs: tuple[bool, bool],
) -> tuple[Tensor | None, Tensor | None]:
    gradients = of.of_all_ranks(gradients, z_a)
    if of.layout.own_rows:
        return of.backend.correlation_backward(gradients, z_a, z_b, residuals, options, of.batch(), needs)
    return (torch.empty_like(z_a) if needs[0] else None), (torch.empty_like(z_b) if needs[1] else None)
