"""Going on from a checkpoint, whose data may have changed since."""

from __future__ import annotations

from typing import Any

from bt_kernels.trainer.data import TrainingData
from bt_kernels.trainer.data.identity import DataIdentity
from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.training.pretraining import Pretraining


def carried_position(saved: dict[str, Any], data: TrainingData) -> int:
    """Return the position in the epochs of ``data`` at which as much of them is done as in a checkpoint.

    Rounded down, it is in the same epoch.

    Args:
        saved: ``Pretraining.state_dict()``, of a run on other data, or in batches of another size.
        data: The run's own.
    """
    return saved["position"] * data.steps_per_epoch // saved["steps_per_epoch"]


def resume(state: Pretraining, saved: dict[str, Any], allow_changed_data: bool) -> str | None:
    """Go on from a checkpoint.

    Args:
        state: The run, at its beginning.
        saved: ``Pretraining.state_dict()``.
        allow_changed_data: Go on with other data from the same place in the epochs.

    Returns:
        What there is to say of data that have changed, None if they have not.

    Raises:
        TrainerError: the checkpoint does not fit the configuration, or the data have changed.
    """
    now = state.data.identity
    try:
        before, position = DataIdentity(**saved["identity"]), carried_position(saved, state.data)
    except (LookupError, TypeError, ArithmeticError) as error:
        raise TrainerError(f"the checkpoint does not fit this configuration: {error}") from error
    if before == now:
        state.load_state_dict(saved)
        return None
    difference = now.difference(before)
    if not allow_changed_data:
        raise TrainerError(
            f"the data are not those of the checkpoint: {difference}; bring those back, or go on with these by "
            "--allow-changed-data"
        )
    state.load_state_dict(saved)
    state.move_to(position)
    epoch = min(state.position // state.data.steps_per_epoch + 1, state.config.epochs)
    return (
        f"the data have changed since the checkpoint: {difference}; the run goes on in the same epoch, {epoch} of "
        f"{state.config.epochs}, and has {state.total_steps - state.step} steps to do"
    )
