"""The default group of torch.distributed: whether there is one, and the word on a loss that was not told of it."""

import os
import sys
import warnings
from pathlib import Path

import torch
import torch.distributed as dist

from bt_kernels.once import first_time
from bt_kernels.torch_versions import constant_to_dynamo

# Folders whose code stands between a user's line and the loss: this package's, torch's.
BETWEEN = tuple(f"{folder}{os.sep}" for folder in (Path(__file__).parents[1], Path(torch.__file__).parent))


def default_group_exists() -> bool:
    # is_initialized has the answer, which torch.compile takes for a constant. WORLD it guards: what was compiled
    # before init_process_group is compiled anew.
    return dist.is_available() and dist.group.WORLD is not None and dist.is_initialized()


@constant_to_dynamo  # torch.compile calls it as it traces, for no graph
def warn_of_own_rows() -> None:
    """Warns, once a process, that a loss without a process_group is that of each rank's own rows."""
    if (ranks := dist.get_world_size()) == 1 or not first_time("own rows"):
        return
    warnings.warn(
        f"the Barlow Twins loss was given no process_group, and there are {ranks} ranks: each rank gets the loss "
        'of its own rows. Pass process_group="world" for the loss of all ranks\' rows, or process_group=None for '
        "that of each rank's own rows without this warning",
        UserWarning,
        stacklevel=_level_of_caller(),
    )


def _level_of_caller() -> int:
    """The stacklevel with which the function that asks warns of the user's line."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(BETWEEN):
        frame, level = frame.f_back, level + 1
    return level
