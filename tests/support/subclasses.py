"""Subclasses of torch.Tensor, made as other libraries make theirs."""

import warnings

import torch
from torch import Tensor


class WithMeta(Tensor):
    """As MONAI's MetaTensor: what is made of it is of its class, and has its metadata."""

    meta: dict

    @classmethod
    def __torch_function__(cls, function, types, arguments=(), options=None):
        result = super().__torch_function__(function, types, arguments, options or {})
        if isinstance(result, WithMeta):
            sources = [x for x in arguments if isinstance(x, WithMeta) and hasattr(x, "meta")]
            result.meta = sources[0].meta if sources else {}
        return result


class Unwrapping(Tensor):
    """As torchvision's tv_tensors: what is made of it is a plain tensor."""

    @classmethod
    def __torch_function__(cls, function, types, arguments=(), options=None):
        with torch._C.DisableTorchFunctionSubclass():
            return function(*arguments, **(options or {}))


class Sums(Tensor):
    """A subclass that takes sums for something else: the loss must not come to ask it."""

    @classmethod
    def __torch_function__(cls, function, types, arguments=(), options=None):
        result = super().__torch_function__(function, types, arguments, options or {})
        return 2 * result if function in (Tensor.sum, Tensor.mean, Tensor.to) else result


class Wrapper(Tensor):
    """As torchao's: a tensor of which only the ops that it is given know the numbers."""

    @staticmethod
    def __new__(cls, inner: Tensor) -> "Wrapper":
        wrapper = Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype, device=inner.device)
        wrapper.inner = inner
        return wrapper

    @classmethod
    def __torch_dispatch__(cls, function, types, arguments=(), options=None):
        inner = [x.inner if isinstance(x, Wrapper) else x for x in arguments]
        result = function(*inner, **(options or {}))
        return Wrapper(result) if isinstance(result, Tensor) else result


def masked(z: Tensor) -> Tensor:
    with warnings.catch_warnings():  # a prototype to PyTorch
        warnings.simplefilter("ignore")
        return torch.masked.masked_tensor(z, z > 0)
