"""How a network lies over the ranks: whole on each (DDP), or spread over them (FSDP2); and its state, whole again.

A checkpoint holds whole tensors, whichever it is, so a run may go on with another number of ranks or the other of
the two.

FSDP2 and its DTensor are imported where a network is spread and nowhere else, because that takes a second.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from bt_kernels.torch_versions import fsdp_runs_on
from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.parallel.processes import Processes

if TYPE_CHECKING:  # importing them takes a second, which only those who spread their parameters wait for
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.fsdp import FSDPModule
    from torch.distributed.tensor import DTensor, Placement

_OWN_UNIT = 2**20  # parameters from which a layer is gathered by itself; below, it comes with the layer around it


def spread(network: nn.Module, processes: Processes, parallel: str) -> None:
    """Make a network, in place, one of several ranks; before its optimizer is made.

    On GPUs its batch norms become those that measure the statistics of the whole batch. There are none for the
    CPU: there every rank normalises its own rows by themselves.

    Args:
        network: On this process's device.
        processes: The ranks.
        parallel: "ddp" leaves the parameters whole, "fsdp" spreads them over the ranks.

    Raises:
        TrainerError: FSDP2 of this torch does not run on the network's device.
    """
    if processes.size == 1:
        return
    device = next(network.parameters()).device.type
    if device == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(network)
    if parallel == "fsdp":
        if not fsdp_runs_on(device):
            raise TrainerError(
                f"torch {torch.__version__} has no FSDP2 on the CPU: use --parallel ddp, or torch 2.8 or newer"
            )
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

        # A convolution as a matrix product, a ResNet that flattens its maps and both views' embeddings out of one
        # batch are views of tensors, and nothing here writes into them: of other modules FSDP2 may still warn.
        known = "MatmulConv2d|PooledShortcut|ResNet|BarlowTwinsNetwork"
        warnings.filterwarnings(
            "ignore", f"FSDP2-wrapped module .FSDP({known}). returned a view tensor", UserWarning
        )
        network.to(memory_format=torch.contiguous_format)  # FSDP2 takes no other
        mesh = init_device_mesh(device, (processes.size,))
        for module in reversed(list(network.modules())):  # the inner ones first, as fully_shard wants it
            if isinstance(module, (nn.ModuleList, nn.ModuleDict)):  # they have no forward to gather for
                continue
            own = sum(p.numel() for p in module.parameters() if not is_spread(p))
            if module is network or own >= _OWN_UNIT:
                fully_shard(module, mesh=mesh)
        register_fsdp_forward_method(network, "features")


def replicate(network: nn.Module, processes: Processes) -> nn.Module:
    """Return what to call in training: its backward gives every rank the mean of all ranks' gradients.

    Args:
        network: From ``spread``; it stays the owner of the parameters, under their own names.
        processes: The ranks.

    Returns:
        The network itself or DistributedDataParallel around it, to be dropped before the ranks part.
    """
    if processes.size == 1 or _spread_by_fsdp(network):
        return network
    # A 1×1 kernel's gradient has other strides than the kernel, and the same order in memory.
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    return nn.parallel.DistributedDataParallel(network)


def synchronizer(replica: nn.Module) -> Callable[[bool], None]:
    """Return a function that says whether the backward of the next forward exchanges the gradients."""

    def synchronize(flag: bool) -> None:
        if _spread_by_fsdp(replica):
            cast("FSDPModule", replica).set_requires_gradient_sync(flag)
        elif isinstance(replica, nn.parallel.DistributedDataParallel):
            replica.require_backward_grad_sync = flag  # what its no_sync() sets

    return synchronize


def share_buffers(network: nn.Module, processes: Processes) -> None:
    """Give all ranks the batch-norm statistics of rank 0, as DistributedDataParallel does before every step."""
    if processes.size > 1:
        for buffer in network.buffers():
            dist.broadcast(buffer, src=0)


def _spread_by_fsdp(network: nn.Module) -> bool:
    return hasattr(network, "set_requires_gradient_sync")


def is_spread(tensor: Tensor) -> bool:
    """Return whether a tensor is a DTensor, of which every rank has a part."""
    return hasattr(tensor, "full_tensor")


def local(tensor: Tensor) -> Tensor:
    """Return this rank's part of a tensor, which is a view."""
    return cast("DTensor", tensor).to_local() if is_spread(tensor) else tensor


def layout_of(tensor: Tensor) -> tuple[DeviceMesh, tuple[Placement, ...]]:
    """Return over which ranks a DTensor is spread, and how."""
    spread = cast("DTensor", tensor)
    return spread.device_mesh, spread.placements


def full_tensors(state: Any, keep: bool = True) -> Any:
    """Return a state_dict with whole tensors on the CPU; collective where they are spread over the ranks.

    Args:
        state: Tensors in dicts and lists, with whatever else.
        keep: False on ranks that only take part: tensors are left out there.
    """
    if isinstance(state, dict):
        return {key: full_tensors(value, keep) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        return type(state)(full_tensors(value, keep) for value in state)
    if not isinstance(state, Tensor):
        return state
    tensor = cast("DTensor", state).full_tensor() if is_spread(state) else state
    return tensor.detach().cpu() if keep else None


def spread_like(tensors: dict[str, Tensor], like: Tensor) -> dict[str, Tensor]:
    """Return whole tensors spread as ``like`` is, those of its shape; the others as they are."""
    if not is_spread(like):
        return tensors
    from torch.distributed.tensor import distribute_tensor

    mesh, placements = layout_of(like)
    return {
        name: distribute_tensor(tensor.to(like.device), mesh, placements, src_data_rank=None)
        if isinstance(tensor, Tensor) and tensor.shape == like.shape
        else tensor
        for name, tensor in tensors.items()
    }


def load_network(network: nn.Module, state: dict[str, Tensor]) -> None:
    """Load a whole state_dict into a network that may be spread over the ranks.

    Raises:
        RuntimeError: keys or shapes differ.
    """
    own = network.state_dict()
    spread_state = {
        name: spread_like({name: tensor}, own[name])[name] if name in own else tensor
        for name, tensor in state.items()
    }
    network.load_state_dict(spread_state)


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load a whole state_dict into the optimizer of a network that may be spread over the ranks.

    Raises:
        ValueError: it is of other parameters.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    entries = {
        index: spread_like(values, parameters[index]) if index < len(parameters) else values
        for index, values in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": entries})
