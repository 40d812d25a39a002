"""What test_torchrun.py has torchrun start on every rank: the trainer, and rank 1 finds another folder of images,
the one that the environment names."""

import os
import sys
from dataclasses import replace

from bt_kernels.trainer.cli import main
from bt_kernels.trainer.training import pretraining

open_training_data = pretraining.open_training_data


def open_elsewhere(config, *where):
    return open_training_data(replace(config, data_dir=os.environ["DATA_OF_RANK_1"]), *where)


if __name__ == "__main__":
    if os.environ["RANK"] == "1":
        pretraining.open_training_data = open_elsewhere
    sys.exit(main())
