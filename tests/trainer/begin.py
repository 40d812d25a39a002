"""What test_initial_weights.py has torchrun start on every rank: runs that begin with a file's weights, by DDP and
by FSDP2. Each rank writes the backbones that it has then, whole, to the folder named behind the file."""

import sys
from pathlib import Path

import torch
from spread import OPTIONS

from bt_kernels.trainer.config import Config
from bt_kernels.trainer.parallel import replicas
from bt_kernels.trainer.parallel.processes import Processes
from bt_kernels.trainer.training.pretraining import Pretraining
from bt_kernels.trainer.weights.initial import begin_with

if __name__ == "__main__":
    processes = Processes.join()
    replicas._OWN_UNIT = 50_000  # so that this small network, too, comes in many parts
    found = {}
    for parallel in ("ddp", "fsdp"):
        state = Pretraining(Config(parallel=parallel, **OPTIONS), processes)
        begin_with(Path(sys.argv[1]), state)
        found[parallel] = replicas.whole(state.network.backbone.state_dict())
    torch.save(found, Path(sys.argv[2]) / f"{processes.rank}.pt")
    processes.leave()
