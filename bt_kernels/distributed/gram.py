"""The Gram form over ranks: the features are shared out, the N x N matrices added up.

all-to-all    z: this rank's samples of all features -> all samples of its features
partial       the backend: statistics of the whole batch, K_a and K_b over these features
all-reduce    the upper triangles of both, and four sums
total         the backend, on every rank: the terms, and K as the backward takes it
backward      the backend: dz of these features, which needs no other rank; all-to-all back
"""

import torch
from torch import Tensor

from bt_kernels.backends.stages import (
    Batch,
    GramPartial,
    OutputGradients,
    Residuals,
    Terms,
    accumulation_dtype,
)
from bt_kernels.distributed.exchange import add_up, start_to_features, start_to_rows
from bt_kernels.distributed.global_batch import GlobalBatch
from bt_kernels.distributed.statistics import as_they_are
from bt_kernels.distributed.sums import decode, encode
from bt_kernels.options import LossOptions


def forward(
    of: GlobalBatch,
    z_a: Tensor,  # (n, D)
    z_b: Tensor,  # (n, D)
    options: LossOptions,
    needs_backward: bool,
) -> tuple[Terms, Residuals | None]:
    layout, backend = of.layout, of.backend
    pending = [start_to_features(z, layout) for z in (z_a, z_b)]
    shard_a, shard_b = (each.wait() for each in pending)  # (N, D_k)
    n, dtype = layout.n, z_a.dtype
    if layout.own_features:
        statistics = as_they_are(shard_a) if of.standardized else None
        partial = backend.gram_partial(shard_a, shard_b, options, statistics, needs_backward)
    else:
        partial = nothing(shard_a)
    triangles, count = partial.triangles, partial.triangles.numel()
    message = torch.cat([triangles.view(-1), encode(partial.sums, layout.d).to(triangles.dtype)])
    residuals = partial.residuals
    del partial, triangles
    add_up(message, layout.ranks)
    sums = decode(message[count:])
    terms, of_k = backend.gram_total(message[:count].view(2, -1), sums, n, dtype, options, needs_backward)
    return terms, (shard_a, shard_b, *residuals, *of_k) if needs_backward else None


def nothing(shard: Tensor) -> GramPartial:  # (N, 0)
    """What a rank without features adds."""
    n = shard.shape[0]
    triangles = torch.zeros(2, n * (n + 1) // 2, dtype=accumulation_dtype(shard.dtype), device=shard.device)
    return GramPartial(triangles, torch.zeros(4, dtype=torch.float64, device=shard.device), ())


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
    layout = of.layout
    gradients = of.of_all_ranks(gradients, z_a)
    shard_a, shard_b, *kept = residuals
    if layout.own_features:
        shares = of.backend.gram_backward(gradients, shard_a, shard_b, tuple(kept), options, of.batch(), needs)
    else:
        shares = (shard_a if needs[0] else None), (shard_a if needs[1] else None)  # no numbers, and none to send
    pending = [None if share is None else start_to_rows(share, layout) for share in shares]
    dz_a, dz_b = (None if each is None else each.wait() for each in pending)
    return dz_a, dz_b
