"""The authors' way over ranks, main.py of github.com/facebookresearch/barlowtwins: SyncBatchNorm, then C added up.

C is summed over the ranks in place and outside autograd: each rank gets the joined batch's gradient of its own
rows, and DDP's averaging makes 1/W of the parameters'. Embeddings of 16 bits are taken as under autocast, in which
the authors' code runs: C is 16 bits wide, in memory and on the wire.
"""

import torch
import torch.distributed as dist
from torch import Tensor, nn

from benchmarks.shared.baselines import EPS, Loss, authors_terms, wide


class SyncStandardize(torch.autograd.Function):
    """What nn.SyncBatchNorm computes and sends without affine parameters; there is none of it for the CPU.

    Forward: a gather of each rank's statistics and number of rows, 2 D + 1 numbers. Backward: the sums of dy and
    of dy * y over all ranks' rows, 2 D numbers.
    """

    @staticmethod
    def forward(ctx, z: Tensor) -> Tensor:  # (n, D) -> (n, D)
        n, d = z.shape
        x = z.to(wide(z.dtype))
        variance, mean = torch.var_mean(x, dim=0, correction=0)
        own = torch.cat([mean, variance, mean.new_tensor([n])])
        everyone = [torch.empty_like(own) for _ in range(dist.get_world_size())]
        dist.all_gather(everyone, own)
        means, variances, counts = torch.stack(everyone).split([d, d, 1], dim=1)
        samples = counts.sum()
        mean = (counts * means).sum(0) / samples
        variance = (counts * (variances + (means - mean) ** 2)).sum(0) / samples
        rstd = torch.rsqrt(variance + EPS)
        ctx.save_for_backward(z, mean, rstd, samples)
        return ((x - mean) * rstd).to(z.dtype)

    @staticmethod
    def backward(ctx, dy: Tensor) -> Tensor:  # (n, D) -> (n, D)
        z, mean, rstd, samples = ctx.saved_tensors
        dy, y = dy.to(mean.dtype), (z.to(mean.dtype) - mean) * rstd
        sums = torch.stack([dy.sum(0), (dy * y).sum(0)])
        dist.all_reduce(sums)
        mean_dy, mean_dy_y = sums / samples
        return (rstd * (dy - mean_dy - y * mean_dy_y)).to(z.dtype)


def official(n: int, d: int, device: torch.device, dtype: torch.dtype) -> Loss:
    """Of this rank's rows; n is the number of all ranks' rows. Every rank calls it, and its backward."""
    if device.type == "cuda":
        standardize = nn.SyncBatchNorm(d, affine=False, eps=EPS, device=device, dtype=wide(dtype))
    else:
        standardize = SyncStandardize.apply

    def loss(z_a: Tensor, z_b: Tensor) -> Tensor:  # (n / W, D), (n / W, D)
        c = standardize(z_a).T @ standardize(z_b)
        c.div_(n)
        dist.all_reduce(c.detach())
        return authors_terms(c)

    return loss
