"""lambd and scale that are not constants: 0-d tensors and, under torch.compile, floats that change between calls.

The ops take numbers. To read a tensor's number is to wait for the GPU, and to torch.compile each number is a graph
of its own. So the loss is then made of its two terms behind the op, as an ordinary part of the graph.
"""

import torch
from torch import Tensor

from bt_kernels.backends.precise_sums import has_float64
from bt_kernels.embeddings import plain
from bt_kernels.options import LossOptions
from bt_kernels.torch_versions import has_static_value


def check_devices(options: LossOptions, device: torch.device) -> None:
    """Raises ValueError unless lambd and scale can be multiplied with numbers on the embeddings' device."""
    for name, value in (("lambd", options.lambd), ("scale", options.scale)):
        if isinstance(value, Tensor) and value.device.type != "cpu" and value.device != device:
            raise ValueError(
                f"{name} must be on the CPU or, as the embeddings are, on {device}: got {value.device}"
            )


def is_constant(value: float | Tensor) -> bool:
    """Whether it is a number that an op may take: of floats, all but those that torch.compile has as symbols."""
    if isinstance(value, Tensor):
        return False
    return not torch.compiler.is_compiling() or has_static_value(value)


def weighted_loss(
    on_diagonal: Tensor,  # ()
    off_diagonal: Tensor,  # ()
    lambd: float | Tensor,
    scale: float | Tensor,
) -> Tensor:  # ()
    """scale * (on_diagonal + lambd * off_diagonal), rounded once to the terms' dtype."""
    wide = torch.float64 if has_float64(on_diagonal.device) else on_diagonal.dtype
    # A 0-d tensor on the CPU stays there: as a factor it needs no copy that the CPU would wait for.
    lambd, scale = (plain(w).to(wide) if isinstance(w, Tensor) else w for w in (lambd, scale))
    return (scale * (on_diagonal.to(wide) + lambd * off_diagonal.to(wide))).to(on_diagonal.dtype)
