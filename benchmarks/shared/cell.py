"""What one cell of the benchmark is: the settings shared by all cells, (N, D), and its embeddings."""

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import NamedTuple

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
# How float32 matrices are multiplied, and torch.set_float32_matmul_precision's word for it: that call sets the old
# and the new switch alike, where setting torch.backends.cuda.matmul.fp32_precision makes torch.compile raise.
PRECISIONS = {"ieee": "highest", "tf32": "high"}
OPERANDS = (*DTYPES, "tf32")  # what a matrix product's operands can be


def of_operands(operands: str) -> dict[str, str]:
    """The dtype, and for tf32 the precision, of a cell with these operands."""
    return {"dtype": "float32", "precision": "tf32"} if operands == "tf32" else {"dtype": operands}


@dataclass(frozen=True)
class Cell:
    n: int
    d: int
    dtype: str = "float32"
    device: str = "cpu"
    backend: str = "auto"  # of bt_kernels
    formulation: str = "auto"  # of bt_kernels and of the floor
    precision: str = "ieee"  # of float32 matrix products on a GPU: see PRECISIONS

    @property
    def torch_dtype(self) -> torch.dtype:
        return DTYPES[self.dtype]

    @property
    def operands(self) -> str:
        """In what the matrices are multiplied: the dtype, or tf32."""
        return "tf32" if (self.dtype, self.precision) == ("float32", "tf32") else self.dtype

    @property
    def on_gpu(self) -> bool:
        return torch.device(self.device).type == "cuda"

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

    @contextlib.contextmanager
    def products(self) -> Iterator[None]:
        """Within, float32 matrices are multiplied as the cell says."""
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision(PRECISIONS[self.precision])
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)


class Views(NamedTuple):
    z_a: Tensor  # (N, D)
    z_b: Tensor  # (N, D)

    def clear(self) -> None:
        """Drops the gradients, so that the next backward allocates its own."""
        self.z_a.grad = self.z_b.grad = None


def make_embeddings(cell: Cell) -> Views:
    """Two views of the same samples, (N, D) each: correlated, and neither centred nor of unit variance."""
    # On the device that they are for: a CPU takes seconds to draw the largest.
    generator = torch.Generator(cell.device).manual_seed(cell.n * 1_000_003 + cell.d)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, device=cell.device)

    z_a = randn(cell.n, cell.d)
    z_b = randn(cell.n, cell.d).mul_(0.5).add_(z_a)
    views = []
    for z in (z_a, z_b):
        z.mul_(0.5 + randn(cell.d).abs_()).add_(randn(cell.d))
        views.append(z.to(cell.torch_dtype).requires_grad_())
    return Views(*views)
