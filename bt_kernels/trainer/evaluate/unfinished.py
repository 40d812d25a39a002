"""An evaluation between two epochs, in a file beside its result: what ``--resume`` goes on from."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from bt_kernels.trainer.config import resolve_device
from bt_kernels.trainer.config.option import flag
from bt_kernels.trainer.data import LabelledImages
from bt_kernels.trainer.data.identity import DataIdentity, identity_of
from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.evaluate.accuracy import TopAccuracy
from bt_kernels.trainer.evaluate.options import EvaluationOptions
from bt_kernels.trainer.evaluate.result import Repetition
from bt_kernels.trainer.randomness import random_state, restore_random_state
from bt_kernels.trainer.run.files import write_atomically

# Where weights and data lie and what computes may change; what they are may not.
_CHANGEABLE = ("output", "workers", "device", "weights", "data_dir", "max_image_pixels")


def unfinished_file(result: Path) -> Path:
    """Return where the state of the evaluation lies whose result will be in ``result``."""
    return result.with_suffix(".unfinished")


def settings_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that an evaluation cannot go on without."""
    return {name: value for name, value in options.items() if name not in _CHANGEABLE}


def read_unfinished(path: Path) -> dict[str, Any]:
    """Return an evaluation's state, tensors on the CPU.

    Raises:
        TrainerError: it cannot be read.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if isinstance(content, dict) and content.keys() == {"is", "repetitions", "unreadable", "training"}:
            return content
    except OSError as error:
        raise TrainerError(f"cannot read {path}: {error.strerror}") from None
    except Exception:  # damaged content makes the unpickler raise anything
        pass
    raise TrainerError(f"{path} is damaged or no unfinished evaluation; remove it to begin anew")


class Unfinished:
    """What is saved after every epoch; of an evaluation without a file for its result nothing.

    ``repetitions`` are those that have been done.

    Args:
        options: The evaluation's.
        resume: "always", "auto" or None, as in pre-training.
        train: The training images.
        test: The test images.

    Raises:
        TrainerError: there is a state to go on from and that was not asked for, or the other way round; it cannot
            be read, or is of other options, weights or images.
    """

    def __init__(
        self, options: EvaluationOptions, resume: str | None, train: LabelledImages, test: LabelledImages
    ) -> None:
        self.repetitions: list[Repetition] = []
        self._path = unfinished_file(Path(options.output)) if options.output else None
        self._device = resolve_device(options.device)
        self._train = train
        self._training: dict[str, Any] | None = None
        self._is: dict[str, Any] = {
            "settings": settings_of(options.as_dict()),
            "weights": _digest(options.weights),
            "labels": _digest(getattr(options, "label_list", "")),
            "train": asdict(_identity(train, options)),
            "test": asdict(_identity(test, options)),
        }
        exists = self._path is not None and self._path.exists()
        if resume is None and exists:
            raise TrainerError(
                f"{self._path} holds an unfinished evaluation; go on with it by --resume, or remove it"
            )
        if resume == "always" and self._path is None:
            raise TrainerError("--resume needs --output or --run, which say beside what the state was saved")
        if resume == "always" and not exists:
            raise TrainerError(f"nothing to resume: there is no {self._path}")
        if self._path is not None and exists:
            self._load(self._path, options)

    def _load(self, path: Path, options: EvaluationOptions) -> None:
        saved = read_unfinished(path)
        for name, value in self._is["settings"].items():
            before = saved["is"]["settings"].get(name)
            if value != before:
                raise TrainerError(
                    f"{path} was begun with {flag(name)} {before}, and this is {value}; give the same"
                )
        if saved["is"]["weights"] != self._is["weights"]:
            raise TrainerError(f"{path} was begun with other weights than {options.weights} holds; name those")
        if saved["is"]["labels"] != self._is["labels"]:
            raise TrainerError(f"{path} was begun with another list of labels; name that one by --label-list")
        for part in ("train", "test"):
            if saved["is"][part] != self._is[part]:
                found, before = DataIdentity(**self._is[part]), DataIdentity(**saved["is"][part])
                raise TrainerError(f"{path} was begun on other {part} images: {found.difference(before)}")
        self.repetitions = [
            Repetition(
                values["seed"],
                TopAccuracy(**values["accuracy"]),
                TopAccuracy(**values["best"]) if values["best"] else None,
                values["best_epoch"],
            )
            for values in saved["repetitions"]
        ]
        self._train.unreadable.update(saved["unreadable"])
        self._training = saved["training"]

    def restore(self, parts: Mapping[str, Any]) -> list[TopAccuracy]:
        """Bring a training to where it was, if it had begun; return the accuracies after its epochs.

        Args:
            parts: Have ``load_state_dict``.
        """
        if self._training is None:
            return []
        for name, part in parts.items():
            part.load_state_dict(self._training["parts"][name])
        restore_random_state(self._training["random"], self._device)
        return [TopAccuracy(*values) for values in self._training["measured"]]

    def save(self, parts: Mapping[str, Any], measured: Sequence[TopAccuracy] = ()) -> None:
        """Save a training after an epoch.

        Args:
            parts: Have ``state_dict``.
            measured: The accuracies after its epochs.

        Raises:
            TrainerError: the disk refuses.
        """
        if self._path is None:
            return
        content = {
            "is": self._is,
            "repetitions": [asdict(repetition) for repetition in self.repetitions],
            "unreadable": self._train.unreadable,
            "training": {
                "parts": {name: part.state_dict() for name, part in parts.items()},
                "random": random_state(self._device),
                "measured": [(accuracy.top1, accuracy.top5) for accuracy in measured],
            },
        }
        buffer = io.BytesIO()  # by itself torch.save hides the disk's error behind one of its own
        torch.save(content, buffer)
        write_atomically(self._path, lambda temporary: temporary.write_bytes(buffer.getbuffer()))

    def done(self, repetition: Repetition) -> None:
        """Take a repetition's result; the next training begins at its beginning."""
        self.repetitions.append(repetition)
        self._training = None


def _digest(path: str) -> str | None:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest() if path else None


def _identity(images: LabelledImages, options: EvaluationOptions) -> DataIdentity:
    return identity_of(images.names or [options.data], len(images.labels))
