"""What test_torchrun.py has torchrun start on every rank: the same steps by DDP and by FSDP2, and one's state in
the other. Rank 0 writes what it found to the file named on the command line."""

import copy
import json
import sys

from bt_kernels.trainer.config import Config
from bt_kernels.trainer.parallel import replicas
from bt_kernels.trainer.parallel.processes import Processes
from bt_kernels.trainer.training.pretraining import Pretraining

OPTIONS = {
    "device": "cpu", "backbone": "resnet18", "projector": "64-32", "image_size": 8, "batch_size": 40, "epochs": 1,
    "optimizer": "lars", "learning_rate": 1.0, "warmup": "0", "views": "separately",
}  # fmt: skip


def steps(state, count):
    with state.replicated():
        views = state.data.views(state.step)
        return [state.train_step(next(views)).loss for _ in range(count)]


def saved(state):
    """What rank 0 would write to a checkpoint, on every rank."""
    training = state.state_dict()
    return copy.deepcopy(state.processes.share(lambda: training))


def measure(processes):
    replicas._OWN_UNIT = 50_000  # so that this small network, too, comes in many parts
    spread = Pretraining(Config(parallel="fsdp", **OPTIONS), processes)
    local = sum(replicas.local(p).numel() for p in spread.network.parameters())
    whole = sum(p.numel() for p in spread.network.parameters())
    units = sum(type(module).__name__.startswith("FSDP") for module in spread.network.modules())
    found = {"share": local / whole, "units": units}
    found["fsdp"] = steps(spread, 2)
    states = [saved(spread)]
    found["fsdp"] += steps(spread, 1)

    replicated = Pretraining(Config(parallel="ddp", **OPTIONS), processes)
    found["ddp"] = steps(replicated, 2)
    states.append(saved(replicated))
    found["ddp"] += steps(replicated, 1)

    for name, state, parallel in (("fsdp to ddp", states[0], "ddp"), ("ddp to fsdp", states[1], "fsdp")):
        other = Pretraining(Config(parallel=parallel, **OPTIONS), processes)
        other.load_state_dict(state)
        found[name] = steps(other, 1)
    return found


if __name__ == "__main__":
    joined = Processes.join()
    result = measure(joined)
    if joined.first:
        with open(sys.argv[1], "w") as file:
            json.dump(result, file)
    joined.leave()
