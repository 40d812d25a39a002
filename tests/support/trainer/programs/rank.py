"""What test_torchrun.py has torchrun start on every rank, with a command line of the trainer.

A run that is interrupted on rank 1 alone, and resumed in the same processes, because starting them takes seconds.
"""

import os
import shutil
import signal
import sys
from functools import partial

import torch.distributed as dist

from bt_kernels.trainer.cli import INTERRUPTED, main
from bt_kernels.trainer.report.pictures import embedding
from bt_kernels.trainer.training.pretraining import Pretraining

INTERRUPTED_STEP = 2

train_step = Pretraining.train_step


def interrupted_train_step(state, views):
    if state.step + 1 == INTERRUPTED_STEP and state.processes.rank == 1:
        signal.raise_signal(signal.SIGINT)
    return train_step(state, views)


if __name__ == "__main__":
    Pretraining.train_step = interrupted_train_step
    embedding.embed_2d = lambda features, seed: features[:, :2]  # t-SNE takes seconds
    status = main()
    if status != INTERRUPTED:
        sys.exit(f"exit status {status}")
    folder, rank = sys.argv[sys.argv.index("--run-dir") + 1], int(os.environ["RANK"])
    if rank == 0:
        shutil.copytree(f"{folder}/checkpoints", f"{folder}-interrupted/checkpoints")
    # torchrun's store still has the addresses of the first meeting.
    dist.init_process_group = partial(
        dist.init_process_group, init_method=f"file://{folder}-meeting", rank=rank, world_size=2
    )
    sys.exit(main(["--resume", "--run-dir", folder]))
