"""The processes of a run: one, or those that torchrun started, over which every batch is spread.

All of them take the same options and do the same steps, so an error that follows from these comes up on every
rank. What rank 0 does alone, such as reading and writing files, goes through ``on_first`` or ``share``, which
make its errors everyone's: no rank waits for one that has given up.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn

from bt_kernels.trainer.config import resolve_device
from bt_kernels.trainer.errors import TrainerError

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """This process's place among those of the run; without torchrun it is rank 0 of 1.

    Args:
        rank: From 0, over all machines.
        size: Number of processes, over all machines.
        local_rank: From 0, on this machine.
        local_size: Number of processes on this machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @classmethod
    def join(cls) -> Processes:
        """Read the place from torchrun's environment, and connect to the other processes if there are any."""
        if not (dist.is_available() and dist.is_torchelastic_launched()):
            return cls()
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        processes = cls(*(int(os.environ[name]) for name in names))
        if processes.size > 1:
            # What the CPU has to know, an interruption for one, goes through gloo beside the GPUs, too.
            dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
        return processes

    def leave(self) -> None:
        """Wait for all ranks, then close the connections; this process goes on alone.

        torchrun ends all processes as soon as one fails: by waiting, rank 0 gets to say why.
        """
        if dist.is_available() and dist.is_initialized():
            self.any(False)
            dist.destroy_process_group()

    @property
    def first(self) -> bool:
        """Whether this is the process that speaks, writes and evaluates."""
        return self.rank == 0

    def own_rows(self, rows: int) -> slice:
        """This rank's share of a batch: consecutive rows, one more on the first ranks if it does not divide."""
        least, left = divmod(rows, self.size)
        start = self.rank * least + min(self.rank, left)
        return slice(start, start + least + (self.rank < left))

    def take_device(self, name: str) -> torch.device:
        """Return this process's device, a GPU of its own where a ``device`` option means GPUs.

        Raises:
            TrainerError: the option means one certain GPU, or there are fewer GPUs than processes.
        """
        device = resolve_device(name)
        if self.size == 1 or device.type == "cpu":
            return device
        if device.index is not None:
            raise TrainerError(f"--device {name} is one GPU for {self.size} processes; leave out the index")
        if self.local_size > torch.cuda.device_count():
            raise TrainerError(
                f"{self.local_size} processes need a GPU each and this PyTorch sees "
                f"{torch.cuda.device_count()}; lower --nproc-per-node or use --device cpu"
            )
        torch.cuda.set_device(self.local_rank)
        return torch.device("cuda", self.local_rank)

    def replicate(self, network: nn.Module) -> nn.Module:
        """Return what to call in training: its backward gives every rank the mean of all ranks' gradients.

        On GPUs the network's batch norms are replaced, in place, by those that measure the statistics of the
        whole batch. There are none for the CPU: there every rank normalises its own rows by themselves.

        Args:
            network: On this process's device; it stays the owner of the parameters, under their own names.

        Returns:
            To be dropped before ``leave``.
        """
        if self.size == 1:
            return network
        if next(network.parameters()).is_cuda:
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        # A 1×1 kernel's gradient has other strides than the kernel, and the same order in memory.
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
        return nn.parallel.DistributedDataParallel(network)

    def any(self, flag: bool) -> bool:
        """Return whether ``flag`` is true on any rank; all ranks have to ask, and get the same answer."""
        if self.size == 1:
            return flag
        flags = torch.tensor(int(flag))
        dist.all_reduce(flags, dist.ReduceOp.MAX)
        return bool(flags)

    def on_first(self, action: Callable[[], T]) -> T | None:
        """Do ``action`` on rank 0 while the others wait; return its result there, and None elsewhere.

        Raises:
            TrainerError, SystemExit: ``action`` raised it; on every rank.
        """
        result, failure = None, None
        if self.first:
            try:
                result = action()
            except (TrainerError, SystemExit) as error:
                failure = error
        failure = self._from_first(failure)
        if failure is not None:
            raise failure
        return result

    def share(self, action: Callable[[], T]) -> T:
        """Do ``action`` on rank 0 and return its result on every rank; raises as ``on_first`` does."""
        return self._from_first(self.on_first(action))

    def _from_first(self, value: Any) -> Any:
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values)
        return values[0]
