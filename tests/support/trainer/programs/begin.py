"""What test_initial_weights.py has torchrun start on every rank: runs that begin with a file's weights, by DDP and
by FSDP2. Each rank writes the backbones that it has then, whole, to the folder named behind the file."""

import gc
import sys
from pathlib import Path

import torch
from spread import OPTIONS

from bt_kernels.trainer.config import Config
from bt_kernels.trainer.parallel import replicas
from bt_kernels.trainer.parallel.processes import Processes
from bt_kernels.trainer.training.initial_weights import begin_with
from bt_kernels.trainer.training.pretraining import Pretraining


def backbones(path, processes):
    """The backbones of both runs, whole. What is spread over the ranks is gone before they part."""
    found = {}
    for parallel in ("ddp", "fsdp"):
        state = Pretraining(Config(parallel=parallel, **OPTIONS), processes)
        begin_with(path, state)
        found[parallel] = replicas.full_tensors(state.network.backbone.state_dict())
    return found


if __name__ == "__main__":
    joined = Processes.join()
    replicas._OWN_UNIT = 50_000  # so that this small network, too, comes in many parts
    torch.save(backbones(Path(sys.argv[1]), joined), Path(sys.argv[2]) / f"{joined.rank}.pt")
    gc.collect()
    joined.leave()
