"""A device without float64, made of the CPU: what is on it cannot be mixed with the CPU's tensors, and a float64
tensor there is an error, as on Apple's MPS.

Its tensors say that they are on "meta", which torch knows on every machine, and have numbers all the same.
"""

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

NAME = "meta"


class OnDevice(Tensor):
    @staticmethod
    def __new__(cls, inner: Tensor) -> "OnDevice":
        if inner.dtype == torch.float64:
            raise TypeError("Cannot convert a tensor to float64: the device does not support it")
        tensor = Tensor._make_wrapper_subclass(
            cls, inner.shape, inner.stride(), inner.storage_offset(), dtype=inner.dtype, device=NAME
        )
        tensor.inner = inner
        return tensor

    @classmethod
    def __torch_dispatch__(cls, function, types, arguments=(), options=None):
        return run(function, arguments, options or {})


class Device(TorchDispatchMode):
    """While it is entered, there is the device."""

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        return run(function, arguments, options or {})


def run(function, arguments, options):
    values = tree_flatten((arguments, options))[0]
    tensors = [x for x in values if isinstance(x, Tensor)]
    there = any(isinstance(x, OnDevice) for x in tensors)
    moves = function in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
    # As on real devices, a scalar of the CPU may be mixed with them.
    if there and not moves and any(not isinstance(x, OnDevice) and x.dim() for x in tensors):
        raise RuntimeError(f"Expected all tensors to be on the same device ({function})")
    device = options.get("device")
    to_device = there if device is None else torch.device(device).type == NAME
    if function is torch.ops.aten.copy_.default:
        to_device = isinstance(arguments[0], OnDevice)
    inner_options = {**options, "device": torch.device("cpu")} if device is not None else options
    inner = tree_map(lambda x: x.inner if isinstance(x, OnDevice) else x, (arguments, inner_options))
    result = function(*inner[0], **inner[1])
    if function._schema.is_mutable:
        return arguments[0]
    return tree_map(lambda x: OnDevice(x) if isinstance(x, Tensor) else x, result) if to_device else result
