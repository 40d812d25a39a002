"""What the collectives of both formulations go by: who has what, the backend between, and whose gradient it is."""

from typing import NamedTuple

import torch
from torch import Tensor

from bt_kernels.backends.stages import Backend, Batch, OutputGradients, accumulation_dtype
from bt_kernels.distributed.exchange import Layout, add_up


class GlobalBatch(NamedTuple):
    """A batch that is spread over ranks. Embeddings are this rank's rows, (n, D), terms are those of all."""

    layout: Layout
    backend: Backend
    gradient: str  # see barlow_twins_loss
    standardized: bool  # the embeddings are, over each rank's own rows

    def batch(self) -> Batch:
        """What a backward is told, in place of what it would be told of these rows alone."""
        return Batch(self.layout.n, self.standardized)

    def of_all_ranks(self, gradients: OutputGradients, z: Tensor) -> OutputGradients:
        """Every rank's loss is a function of every rank's rows: what arrives at all of them counts, added up."""
        dtype = accumulation_dtype(z.dtype)
        zero = torch.zeros((), dtype=dtype, device=z.device)
        total = add_up(torch.stack([zero if g is None else g.to(dtype) for g in gradients]), self.layout.ranks)
        if self.gradient == "divided":
            total /= self.layout.ranks.size
        return OutputGradients(*total.unbind())
