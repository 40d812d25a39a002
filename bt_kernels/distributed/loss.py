"""A call whose batch is spread over ranks: agree, choose a formulation, put the stages together, apply."""

from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch import Tensor

from bt_kernels.backends.precise_sums import has_float64
from bt_kernels.backends.registry import BACKENDS, choose_backend
from bt_kernels.backends.stages import Stages, Terms, accumulation_dtype
from bt_kernels.backends.standardize import standardize
from bt_kernels.distributed import correlation, gram
from bt_kernels.distributed.agreement import agree
from bt_kernels.distributed.cost import choose_distributed_formulation
from bt_kernels.distributed.exchange import Layout
from bt_kernels.distributed.global_batch import GlobalBatch
from bt_kernels.distributed.group import ranks_of
from bt_kernels.distributed.options import DistributedOptions
from bt_kernels.embeddings import plain
from bt_kernels.function import differentiable
from bt_kernels.options import LossOptions
from bt_kernels.standard_deviation_eps import scaled_for_std_eps
from bt_kernels.torch_versions import not_compiled


class SpreadBackend(GlobalBatch):
    """A backend's stages with collectives between them: to BarlowTwinsFunction a backend like any other."""

    gram_forward, gram_backward = gram.forward, gram.backward
    correlation_forward, correlation_backward = correlation.forward, correlation.backward


def standardize_locally(z: Tensor, options: LossOptions, weight: float) -> Tensor:  # (n, D) -> (n, D)
    """Over this rank's rows alone, as an ordinary part of the graph.

    Float32 for 16-bit embeddings, and on the wire too: the loss needs 1 - C_ii, and the standardization's backward
    the difference of large numbers, neither of which would outlive a rounding to 16 bits in between.
    """
    return standardize(z, options.eps, options.unbiased).y * weight


def travelling_dtype(z: Tensor, distributed: DistributedOptions) -> torch.dtype:
    return accumulation_dtype(z.dtype) if distributed.statistics == "local" else z.dtype


def raise_on_every_rank(process_group: Any, error: Exception) -> NoReturn:
    """Raises an error of this rank's arguments on the others as well, which are about to wait for it."""
    group = DistributedOptions(process_group).at_this_call().process_group
    if group is None:
        raise error

    def fail() -> None:
        raise error

    agree(ranks_of(group), torch.empty(0, 0), torch.empty(0, 0), LossOptions(), DistributedOptions(group), fail)
    raise AssertionError("agree raises what one rank reports")


# Dynamo can neither trace the exchange whose outcome decides the shapes that follow, nor should it try to.
@not_compiled(
    "the Barlow Twins loss over a process_group exchanges shapes between processes: leave out fullgraph=True"
)
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
        if not has_float64(z_a.device):
            raise RuntimeError(f"a process_group needs sums in float64, and there is none on {z_a.device.type}")

    rows = agree(ranks, z_a, z_b, options, distributed, check_all)
    z_a, z_b = plain(z_a), plain(z_b)
    if options.eps_added_to == "std":  # statistics="local", whose rows are all here
        z_a, z_b = (scaled_for_std_eps(z, options) for z in (z_a, z_b))
    d, dtype = z_a.shape[1], travelling_dtype(z_a, distributed)
    backend = BACKENDS[choose_backend(options.backend, z_a.device, dtype)]
    formulation = choose_distributed_formulation(options.formulation, rows, d, dtype.itemsize, z_a.device.type)
    needs_backward = torch.is_grad_enabled() and (z_a.requires_grad or z_b.requires_grad)
    local = distributed.statistics == "local" and ranks.size > 1
    if local:
        # C is the mean of the ranks' own, whatever their numbers of rows: to a sum that is divided by N, a rank
        # brings y^T y / n * N / W.
        weight = (sum(rows) / (ranks.size * z_a.shape[0])) ** 0.5
        z_a, z_b = (standardize_locally(z, options, weight) for z in (z_a, z_b))
    stages: Stages = backend
    if ranks.size > 1:
        stages = SpreadBackend(Layout(ranks, rows, d), backend, distributed.gradient, local)
    return differentiable(z_a, z_b, options, formulation, stages, needs_backward)
