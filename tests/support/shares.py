"""A forward in halves, the first one in shares, all in one process: shares of the features for the Gram form, of
the rows for the correlation form, sums of what the first halves leave, the second half, each share's backward."""

import torch
from torch import Tensor

from bt_kernels.backends.stages import OutputGradients, Statistics
from tests.support.accuracy import Formula, Result


def pieces(count: int, cuts: tuple[int, ...]) -> list[slice]:
    return [slice(*ends) for ends in zip((0, *cuts), (*cuts, count), strict=True)]


def statistics_of(z_a: Tensor, z_b: Tensor, formula: Formula) -> Statistics:
    z = torch.stack([z_a, z_b]).double()
    mean = z.mean(1)
    residual_mean = (z - mean[:, None]).mean(1) if z_a.dtype == torch.float64 else torch.zeros_like(mean)
    variance = (z - mean[:, None] - residual_mean[:, None]).square().sum(1) / (z.shape[1] - int(formula.unbiased))
    return Statistics(mean, residual_mean, torch.rsqrt(variance + formula.eps))


def already_standardized(z: Tensor) -> Statistics:
    d = z.shape[1]
    return Statistics(*(torch.full((2, d), x, dtype=torch.float64, device=z.device) for x in (0.0, 0.0, 1.0)))


def output_gradients(formula: Formula, like: Tensor) -> OutputGradients:
    return OutputGradients(*(torch.full_like(like, g) if g else None for g in formula.output_gradients))


def gram_in_shares(stages, z_a, z_b, cuts, formula, options, statistics, batch) -> Result:
    n, d = z_a.shape
    shares = [(z_a[:, piece].contiguous(), z_b[:, piece].contiguous()) for piece in pieces(d, cuts)]
    partials = []
    for share, piece in zip(shares, pieces(d, cuts), strict=True):
        own = statistics and Statistics(*(x[:, piece].contiguous() for x in statistics))
        partials.append(stages.gram_partial(*share, options, own, True))
    triangles, sums = (sum(getattr(partial, name) for partial in partials) for name in ("triangles", "sums"))
    terms, of_k = stages.gram_total(triangles, sums, n, z_a.dtype, options, True)
    gradients = [
        stages.gram_backward(
            output_gradients(formula, terms[0]), *share, (*partial.residuals, *of_k), options, batch, (True, True)
        )
        for share, partial in zip(shares, partials, strict=True)
    ]
    return Result(terms, tuple(torch.cat(view, 1) for view in zip(*gradients, strict=True)))


def correlation_in_shares(stages, z_a, z_b, cuts, formula, options, statistics, batch) -> Result:
    n = z_a.shape[0]
    shares = [(z_a[piece], z_b[piece]) for piece in pieces(n, cuts)]
    partials = [stages.correlation_partial(*share, statistics, n, True) for share in shares]
    terms, of_c = stages.correlation_total(sum(partial.c for partial in partials), n, z_a.dtype, options, True)
    gradients = [
        stages.correlation_backward(
            output_gradients(formula, terms[0]), *share, (*partial.residuals, *of_c), options, batch, (True, True)
        )
        for share, partial in zip(shares, partials, strict=True)
    ]
    return Result(terms, tuple(torch.cat(view, 0) for view in zip(*gradients, strict=True)))
