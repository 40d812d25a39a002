"""A new run that begins where another one was: at a checkpoint of this trainer's or of the authors' code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bt_kernels.trainer.config.option import flag
from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.parallel.replicas import load_network, load_optimizer
from bt_kernels.trainer.run.checkpoint import KEYS, load_checkpoint
from bt_kernels.trainer.training.pretraining import Pretraining
from bt_kernels.trainer.training.resume import carried_position
from bt_kernels.trainer.weights import official
from bt_kernels.trainer.weights.names import tensors_in
from bt_kernels.trainer.weights.reading import read_content


def begin_from(path: Path, state: Pretraining, warn: Callable[[str], None]) -> None:
    """Give a new run the weights, the optimizer's momenta and the position of another one.

    Learning rates and their schedule are the new run's own, at the old one's position.

    Args:
        path: A checkpoint.
        state: The new run, at its beginning.
        warn: Told what is not taken over.

    Raises:
        TrainerError: the file cannot be read, does not fit, or the new run would be over at its position.
    """
    content = read_content(path, lazily=True)
    if official.is_official(path, content):
        checkpoint = official.read_official(path)
        epochs = official.continue_from(checkpoint, state.network, state.optimizer)
        step = epochs * state.data.steps_per_epoch
    elif tensors_in(content) and not (isinstance(content, dict) and set(content) >= KEYS):
        raise TrainerError(
            f"{path} holds weights and not the state of a run; use --initial-weights {path} to begin with them"
        )
    else:
        step = _begin_from_own(path, state, warn)
    if step >= state.total_steps:
        raise TrainerError(
            f"{path} is at step {step} of the {state.total_steps} that this run has; give it more --epochs"
        )
    state.start_at(step)


def _begin_from_own(path: Path, state: Pretraining, warn: Callable[[str], None]) -> int:
    checkpoint = load_checkpoint(path)
    training, config = checkpoint["training"], checkpoint["config"]
    for name in ("backbone", "stem", "shortcuts", "projector"):
        own = getattr(state.config, name)
        if config.get(name) != own:
            raise TrainerError(
                f"{flag(name)} {own} is not that of {path}, {config.get(name)}: a run continues with the "
                "same network"
            )
    try:
        load_network(state.network, training["network"])
        if config["optimizer"] == state.config.optimizer:
            rates = state.optimizer.state_dict()["param_groups"]
            load_optimizer(state.optimizer, {**training["optimizer"], "param_groups": rates})
        else:
            warn(f"{path} holds the state of {config['optimizer']}; {state.config.optimizer} begins without one")
        if config["data"] == state.config.data:
            state.data.load_state_dict(training["data"])
        return carried_position(training, state.data)
    except (LookupError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise TrainerError(f"{path} does not fit this configuration: {reason}") from error
