"""What an evaluation is made of: one frozen dataclass of options per protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bt_kernels.trainer.config import resolve_device
from bt_kernels.trainer.config.option import OptionPart, option
from bt_kernels.trainer.config.parts import BackboneOptions, DataOptions, DeviceOptions
from bt_kernels.trainer.errors import TrainerError

TEMPERATURE = 0.07


def _with_default(part: type[OptionPart], name: str, default: Any) -> Any:
    """A part's option with another default."""
    metadata = part.__dataclass_fields__[name].metadata  # type: ignore[attr-defined]
    return option(default, metadata["help"], metadata["choices"])


@dataclass(frozen=True)
class EvaluationOptions(DataOptions, BackboneOptions, DeviceOptions):
    """Evaluation."""

    weights: str = option(
        "",
        "file of the backbone's weights: exported .pth or .safetensors, or a checkpoint, of this trainer's or "
        "of the authors' code",
        path=True,
    )
    shortcuts: str = _with_default(BackboneOptions, "shortcuts", "strided")
    image_size: int = option(
        224,
        "side in pixels of the images that the network sees; usual are 16 of digits, 32 of CIFAR, 96 of STL-10",
    )
    batch_size: int = option(256, "images per step")
    output: str = option(
        "",
        "JSON file of the result; with --run it is evaluation-<protocol>.json there, or, if that is of other "
        "settings, one with a number",
        path=True,
    )

    def check(self) -> None:
        self.require(self.weights.strip() != "", "weights", "a file of weights")
        self.require_at_least(1, "batch_size")
        if self.precision == "float16" and resolve_device(self.device).type == "cpu":
            raise TrainerError("--precision float16 needs a GPU; use bfloat16 or float32")

    @property
    def result_name(self) -> str:
        """Name of the result's file in a run folder, without its ending."""
        raise NotImplementedError


@dataclass(frozen=True)
class KnnOptions(EvaluationOptions):
    """Nearest neighbours."""

    neighbours: int = option(0, "training images that vote; 0: 200, or as many as a class has if these are fewer")
    temperature: float = option(TEMPERATURE, "a neighbour's weight is exp(cosine / temperature)")

    def check(self) -> None:
        self.require_at_least(0, "neighbours")
        self.require_finite("temperature", positive=True)

    @property
    def result_name(self) -> str:
        return "evaluation-knn"


@dataclass(frozen=True)
class TrainingOptions(OptionPart):
    """Training."""

    seeds: int = option(1, "how often it is done, each time with other random numbers: --seed, --seed + 1, ...")
    momentum: float = option(0.9, "momentum of SGD")

    def check(self) -> None:
        self.require_at_least(1, "seeds")
        self.require(0 <= self.momentum < 1, "momentum", "at least 0 and less than 1")


@dataclass(frozen=True)
class LinearOptions(EvaluationOptions, TrainingOptions):
    """Linear classifier."""

    epochs: int = option(100, "passes over the training images")
    learning_rate: float = option(0.3, "learning rate, falling along a cosine to 0, from epoch to epoch")
    weight_decay: float = option(1e-6, "weight decay")
    cache_features: bool = option(
        False,
        "compute the features once, of images that are not augmented, for a CPU or a quick look; digits, which "
        "are not augmented here, always are done so",
    )

    def check(self) -> None:
        self.require_at_least(1, "epochs")
        self.require_finite("learning_rate", positive=True)
        self.require_finite("weight_decay")

    @property
    def result_name(self) -> str:
        return "evaluation-linear"


@dataclass(frozen=True)
class SemiSupervisedOptions(EvaluationOptions, TrainingOptions):
    """Fine-tuning on few labels."""

    labels_percent: float = option(1.0, "labels drawn per class with the seed, in %, at least one of each class")
    label_list: str = option(
        "",
        "file that names the labelled images instead, one a line, as SimCLR's lists for ImageNet do: by the "
        "file's name or its path below train",
        path=True,
    )
    epochs: int = option(20, "passes over the labelled images")
    learning_rate_backbone: float = option(0.005, "learning rate of the backbone (authors' code; paper: 0.002)")
    learning_rate_classifier: float = option(0.5, "learning rate of the classifier")
    decay: str = option(
        "cosine",
        "how the learning rates fall from epoch to epoch: cosine, to 0 (authors' code); steps, by 0.2 after 60% "
        "and 80% of the epochs (paper: after 12 and 16 of 20)",
        choices=("cosine", "steps"),
    )
    weight_decay: float = option(0.0, "weight decay")

    def check(self) -> None:
        self.require(0 < self.labels_percent <= 100, "labels_percent", "greater than 0 and at most 100")
        self.require_at_least(1, "epochs")
        self.require_choice("decay")
        self.require_finite("learning_rate_backbone", "learning_rate_classifier", positive=True)
        self.require_finite("weight_decay")

    @property
    def result_name(self) -> str:
        share = "" if self.label_list else f"-{self.labels_percent:g}-percent"
        return f"evaluation-semi-supervised{share}"
