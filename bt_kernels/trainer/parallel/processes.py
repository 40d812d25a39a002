"""The processes of a run: one, or those that torchrun started, over which every batch is spread.

All of them take the same options and do the same steps, so an error that follows from these comes up on every
rank. What may fail on some of them goes through ``together``, what rank 0 does alone, such as writing files,
through ``on_first`` or ``share``. These make a rank's errors everyone's: none waits for one that has given up.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

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
            tensor = torch.zeros(())
            dist.all_reduce(tensor)
            # A thread of gloo's lets go of the tensor a moment later, for which it needs the interpreter. If that
            # is ending by then, the process is aborted (PyTorch's issue 190489). Closing does not wait for it.
            held = weakref.ref(tensor)
            del tensor
            while held() is not None:
                time.sleep(1e-3)
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

    def any(self, flag: bool) -> bool:
        """Return whether ``flag`` is true on any rank; all ranks have to ask, and get the same answer."""
        return bool(self.total(torch.tensor(int(flag))))

    def total(self, values: Tensor) -> Tensor:
        """Return the sum over the ranks of a tensor on this process's device; all ranks have to ask."""
        if self.size > 1:
            values = values.contiguous().clone()
            dist.all_reduce(values)
        return values

    def gather(self, value: T) -> list[T] | None:
        """Return every rank's value, in the order of the ranks, on rank 0, and None elsewhere."""
        if self.size == 1:
            return [value]
        values: list[Any] | None = [None] * self.size if self.first else None
        dist.gather_object(value, values)
        return values

    def together(self, action: Callable[[], T]) -> T:
        """Do ``action`` on every rank and return its result, if it succeeds on all of them.

        Raises:
            TrainerError: ``action`` raised it on a rank; the first such rank's, on every rank.
        """
        result, failure = None, None
        try:
            result = action()
        except TrainerError as error:
            failure = error
        if self.any(failure is not None) and self.size > 1:
            failures: list[Any] = [None] * self.size
            dist.all_gather_object(failures, failure)
            failure = next(error for error in failures if error is not None)
        if failure is not None:
            raise failure
        return result  # type: ignore[return-value]

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
