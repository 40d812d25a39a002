"""What one cell of the benchmark is: the settings shared by all cells, (N, D), and its embeddings."""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
# What a GradScaler would multiply the loss with: without it the gradients of all candidates underflow in float16.
LOSS_SCALE = {torch.float16: 1024.0}


@dataclass(frozen=True)
class Cell:
    n: int
    d: int
    dtype: str = "float32"
    device: str = "cpu"
    backend: str = "auto"  # of bt_kernels
    formulation: str = "auto"  # of bt_kernels and of the floor

    @property
    def torch_dtype(self) -> torch.dtype:
        return DTYPES[self.dtype]

    @property
    def itemsize(self) -> int:
        return self.torch_dtype.itemsize

    @property
    def embeddings_bytes(self) -> int:
        """Both views' embeddings; their gradients take as much."""
        return 2 * self.n * self.d * self.itemsize

    @property
    def loss_scale(self) -> float:
        return LOSS_SCALE.get(self.torch_dtype, 1.0)

    def as_dict(self) -> dict:
        return asdict(self)


def make_embeddings(cell: Cell) -> tuple[Tensor, Tensor]:
    """Two views of the same samples, (N, D) each: correlated, and neither centred nor of unit variance."""
    generator = torch.Generator().manual_seed(cell.n * 1_000_003 + cell.d)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    z_a = randn(cell.n, cell.d)
    z_b = randn(cell.n, cell.d).mul_(0.5).add_(z_a)
    views = []
    for z in (z_a, z_b):
        z.mul_(0.5 + randn(cell.d).abs_()).add_(randn(cell.d))
        views.append(z.to(device=cell.device, dtype=cell.torch_dtype).requires_grad_())
    return views[0], views[1]
