"""What the loss takes as embeddings: dense (N, D) of a floating-point dtype, whatever Python class holds them."""

import torch
from torch import Tensor, nn

PLAIN = (Tensor, nn.Parameter)
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
# Subclasses that answer for operations themselves, and with the usual numbers: torch's own, for tracing and for
# what a collective is still bringing.
TRANSPARENT = (
    "torch._subclasses.fake_tensor.FakeTensor",
    "torch._subclasses.functional_tensor.FunctionalTensor",
    "torch.distributed._functional_collectives.AsyncCollectiveTensor",
)


def check_embeddings(z_a: Tensor, z_b: Tensor, least_samples: int = 2) -> None:
    """Raises TypeError or ValueError unless z_a and z_b are two views' embeddings that the loss is defined for."""
    for name, z in (("z_a", z_a), ("z_b", z_b)):
        if not isinstance(z, Tensor):
            raise TypeError(f"{name} must be a torch.Tensor of shape (N, D), got {type(z).__name__}")
        check_dense(name, z)
        if z.dtype not in DTYPES:
            raise TypeError(f"{name} must be float64, float32, bfloat16 or float16, got {z.dtype}")
        if z.dim() != 2:
            raise ValueError(f"{name} must have shape (N, D), got {tuple(z.shape)}")
    if z_a.shape != z_b.shape:
        raise ValueError(f"z_a and z_b must have the same shape, got {tuple(z_a.shape)} and {tuple(z_b.shape)}")
    if z_a.dtype != z_b.dtype:
        raise TypeError(f"z_a and z_b must have the same dtype, got {z_a.dtype} and {z_b.dtype}")
    if z_a.device != z_b.device:
        raise ValueError(f"z_a and z_b must be on the same device, got {z_a.device} and {z_b.device}")
    n, d = z_a.shape
    if n < least_samples:
        raise ValueError(f"the batch statistics need N >= 2 samples, got shape (N, D) = {(n, d)}")
    if d < 1:
        raise ValueError(f"the embeddings need D >= 1 features, got shape (N, D) = {(n, d)}")


def check_dense(name: str, z: Tensor) -> None:
    """Raises TypeError for a tensor whose numbers are not where its shape and strides say."""
    if type(z) not in PLAIN:
        check_class(name, type(z))
    if z.layout != torch.strided or z.is_nested:
        kind = "a nested tensor" if z.is_nested else f"layout {z.layout}"
        raise TypeError(f"{name} must be a dense (strided) tensor, got {kind}")


def answers_itself(kind: type[Tensor]) -> bool:
    """Whether a subclass gives operations a meaning of its own: shards, masks, codes."""
    return kind.__torch_dispatch__ is not Tensor.__torch_dispatch__


def check_class(name: str, kind: type[Tensor]) -> None:
    if not answers_itself(kind) or f"{kind.__module__}.{kind.__qualname__}" in TRANSPARENT:
        return
    advice = ""
    if kind.__name__ == "DTensor":
        advice = ": call its full_tensor() or, where the rows are sharded, its to_local(), with a process_group"
    raise TypeError(f"{name} must be a plain tensor, got a {kind.__name__}{advice}")


def plain(z: Tensor) -> Tensor:
    """z itself or, of a subclass that is a tensor with something beside it (MetaTensor, tv_tensors), the tensor.

    The gradient goes through.
    """
    if type(z) in PLAIN or answers_itself(type(z)):
        return z
    with torch._C.DisableTorchFunctionSubclass():  # or the result would be of the subclass again
        return z.view_as(z)
