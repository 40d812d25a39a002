"""An evaluation's result: the table on the console and the content of the JSON file."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from bt_kernels import __version__
from bt_kernels.trainer.config import resolve_device
from bt_kernels.trainer.data import LabelledImages
from bt_kernels.trainer.evaluate.accuracy import TopAccuracy
from bt_kernels.trainer.evaluate.confidence import LEVEL, binomial_interval, half_width
from bt_kernels.trainer.evaluate.options import EvaluationOptions

_WIDTH = 20


@dataclass(frozen=True)
class Repetition:
    """One seed's accuracies on the test images.

    Args:
        seed: Of its random numbers.
        accuracy: After the last epoch: this is the result.
        best: After the epoch with the highest top-1, chosen by the test images themselves and so a little too
            high; the authors' code reports it, too.
        best_epoch: That epoch, from 1.
    """

    seed: int
    accuracy: TopAccuracy
    best: TopAccuracy | None = None
    best_epoch: int | None = None


@dataclass(frozen=True)
class Evaluation:
    """What was evaluated and how it went.

    Args:
        protocol: "knn", "linear" or "semi-supervised".
        options: Its options.
        repetitions: One per seed.
        train: The training part.
        test: The test part.
        labelled: Training images whose labels were used, if not all.
        neighbours: That voted, of knn.
    """

    protocol: str
    options: EvaluationOptions
    repetitions: list[Repetition]
    train: LabelledImages
    test: LabelledImages
    labelled: int | None = None
    neighbours: int | None = None

    @property
    def left_out(self) -> int:
        """Training images that could not be read."""
        return len(self.train.unreadable)

    def values(self, name: str) -> list[float]:
        """The accuracies called "top1" or "top5", by repetition."""
        return [getattr(repetition.accuracy, name) for repetition in self.repetitions]


def format_table(evaluation: Evaluation) -> str:
    """Return the accuracies in %, a line per seed, and what they can be trusted for."""
    options, repetitions, images = evaluation.options, evaluation.repetitions, len(evaluation.test.labels)
    left_out = f", {evaluation.left_out} of them unreadable and left out" if evaluation.left_out else ""
    used = f"{evaluation.labelled} labels of " if evaluation.labelled is not None else ""
    kind = f"knn, {evaluation.neighbours} neighbours" if evaluation.neighbours else evaluation.protocol
    lines = [
        f"{kind}: {options.backbone}, {options.weights}, on {options.data} ({used}{len(evaluation.train.labels)} "
        f"training images{left_out}, {images} test images, {evaluation.train.classes} classes)",
        _row("accuracy in %", "top-1", "top-5"),
    ]
    for repetition in repetitions if len(repetitions) > 1 else []:
        lines.append(_row(f"seed {repetition.seed}", *map(_percent, vars(repetition.accuracy).values())))
    cells, best = [], []
    for name in ("top1", "top5"):
        values, width = evaluation.values(name), half_width(evaluation.values(name))
        cells.append(_percent(float(np.mean(values))) + (f" ± {_percent(width)}" if width is not None else ""))
        if repetitions[0].best is not None:
            best.append(_percent(float(np.mean([getattr(repetition.best, name) for repetition in repetitions]))))
    lines.append(_row("mean" if len(repetitions) > 1 else "result", *cells))
    if best:
        lines.append(_row("best epoch", *best))
    low, high = binomial_interval(float(np.mean(evaluation.values("top1"))), images)
    level = f"{100 * LEVEL:.0f} %"
    if len(repetitions) > 1:
        lines.append(f"±: {level} confidence interval of the mean over {len(repetitions)} seeds, by Student's t.")
    elif evaluation.protocol != "knn":
        lines.append("One seed: what another training would change is not known; --seeds 3 measures it.")
    interval = f"{_percent(low)} to {_percent(high)}"
    lines.append(f"For {images} test images alone the {level} interval of top-1 is {interval}.")
    return "\n".join(lines)


def summarise(evaluation: Evaluation, seconds: float) -> dict[str, Any]:
    """Return the JSON file's content; accuracies are shares in [0, 1]."""
    packages = ("torch", "torchvision", "numpy", "scipy", "scikit-learn")
    versions = {"python": platform.python_version(), "bt_kernels": __version__}
    return {
        "protocol": evaluation.protocol,
        "accuracy": {
            name: {
                "mean": float(np.mean(evaluation.values(name))),
                "half_width_over_seeds": half_width(evaluation.values(name)),
                "binomial_interval": binomial_interval(
                    float(np.mean(evaluation.values(name))), len(evaluation.test.labels)
                ),
            }
            for name in ("top1", "top5")
        },
        "confidence": LEVEL,
        "repetitions": [asdict(repetition) for repetition in evaluation.repetitions],
        "images": {
            "train": len(evaluation.train.labels),
            "test": len(evaluation.test.labels),
            "labelled": evaluation.labelled,
            "left_out": evaluation.left_out,
        },
        "unreadable": {
            evaluation.train.name(index): reason for index, reason in sorted(evaluation.train.unreadable.items())
        },
        "classes": evaluation.train.classes,
        "neighbours": evaluation.neighbours,
        "options": evaluation.options.as_dict(),
        "seconds": round(seconds, 1),
        "device": str(resolve_device(evaluation.options.device)),
        "threads": torch.get_num_threads(),
        "versions": versions | {name: version(name) for name in packages},
    }


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


def _row(name: str, *cells: str) -> str:
    return name.ljust(_WIDTH) + "".join(cell.rjust(_WIDTH) for cell in cells)
