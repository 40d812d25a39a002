"""What test_torchrun.py has torchrun start on every rank: the trainer, and rank 1 does not find the images."""

import os
import sys

from bt_kernels.trainer.cli import main

if __name__ == "__main__":
    if os.environ["RANK"] == "1":
        os.chdir("/")
    sys.exit(main())
