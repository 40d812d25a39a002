"""The configuration of a pre-training run: one frozen dataclass, put together from parts."""

from __future__ import annotations

from dataclasses import dataclass

from bt_kernels.trainer.config.option import OptionPart, option
from bt_kernels.trainer.config.parts import AugmentationOptions, BackboneOptions, DataOptions, DeviceOptions
from bt_kernels.trainer.errors import TrainerError


@dataclass(frozen=True)
class RunOptions(OptionPart):
    """Run folder and what is written there."""

    run_dir: str = option(
        "runs/pretrain", "run folder: configuration, metrics, checkpoints, weights, pictures", path=True
    )
    checkpoint_every: int = option(
        10, "epochs between checkpoints; one is also saved at the end, on Ctrl-C, SIGTERM, SIGUSR1 and SIGHUP"
    )
    keep_checkpoints: int = option(3, "how many of the latest checkpoints are kept")
    statistics_every: int = option(10, "steps between measurements of the embeddings' statistics")
    knn_every: int = option(
        10, "epochs between measurements of the nearest-neighbour accuracy, of a data set with labels; 0: never"
    )
    tensorboard: bool = option(False, "write the metrics for TensorBoard, too")
    label_draws: int = option(20, "random draws of the labels that the digits' evaluation averages over")

    def check(self) -> None:
        self.require(self.run_dir.strip() != "", "run_dir", "a folder's path")
        self.require_at_least(1, "checkpoint_every", "keep_checkpoints", "statistics_every", "label_draws")
        self.require_at_least(0, "knn_every")


@dataclass(frozen=True)
class InitialOptions(OptionPart):
    """Initial weights."""

    initial_weights: str = option(
        "",
        "file whose weights the backbone begins with: exported .pth or .safetensors, torchvision's, timm's or the "
        "authors', or a checkpoint; projector, optimizer and schedule begin as without it",
        path=True,
    )


@dataclass(frozen=True)
class CriterionOptions(OptionPart):
    """Projector and loss."""

    projector: str = option("512-512", "widths of the projector's layers, the last one is the embedding's")
    lambd: float = option(0.0051, "weight of the loss's redundancy-reduction (off-diagonal) term")
    gradient_divisor: float = option(
        1.0,
        "divides the loss before its backward. The authors' code gives 1/W of the loss's gradient on W GPUs, and "
        "its learning rate for biases and norms, 0.0048, was set with W = 32; here the gradient is whole "
        "on any number of ranks",
    )
    loss_backend: str = option(
        "auto", "what computes the loss", choices=("auto", "eager", "cpu", "triton", "cuda")
    )

    def check(self) -> None:
        widths = self.projector.split("-")
        valid = all(width.isascii() and width.isdigit() and int(width) > 0 for width in widths)
        self.require(valid, "projector", "positive widths joined by '-', such as 512-512")
        self.require_finite("lambd", "gradient_divisor", positive=True)
        self.require_choice("loss_backend")

    @property
    def projector_widths(self) -> list[int]:
        """Output widths of the projector's layers."""
        return [int(width) for width in self.projector.split("-")]


@dataclass(frozen=True)
class OptimizationOptions(OptionPart):
    """Optimization."""

    epochs: int = option(30, "passes over the training images")
    batch_size: int = option(
        64, "images per step, over all ranks; each gives two views, an incomplete last batch is dropped"
    )
    optimizer: str = option("adamw", "what moves the weights", choices=("lars", "sgd", "adamw"))
    learning_rate: float = option(1e-3, "peak learning rate of matrices and kernels; with adamw of everything")
    learning_rate_biases: float = option(
        4.8e-3, "peak learning rate of biases and normalisation parameters, with lars and sgd"
    )
    scale_learning_rates: bool = option(False, "multiply the learning rates by batch_size / 256")
    warmup: str = option(
        "10%", "linear warm-up of the learning rate, in epochs (10) or as a share of the run (10%)"
    )
    final_learning_rate: float = option(
        0.0, "learning rate at the end of its cosine decay, as a share of the peak"
    )
    momentum: float = option(0.9, "momentum, with lars and sgd")
    weight_decay: float = option(
        1e-4, "weight decay of matrices and kernels, decoupled with adamw; biases and norms have none"
    )
    lars_coefficient: float = option(0.001, "LARS's trust coefficient (eta)")
    accumulate: int = option(1, "chunks that a rank's share of the batch is computed in, to fit its memory")
    accumulation: str = option(
        "exact",
        "what a batch in chunks is: exact, one loss over the whole batch, the network run twice; ordinary, the "
        "mean of the chunks' losses, each over its own images",
        choices=("exact", "ordinary"),
    )
    views: str = option(
        "together",
        "how the network sees the two views: together, in one batch; separately, one after the other, each "
        "with batch-norm statistics of its own, as in the authors' code",
        choices=("together", "separately"),
    )
    parallel: str = option(
        "ddp",
        "over several ranks: ddp, every rank has the whole network (DistributedDataParallel); fsdp, its "
        "parameters, gradients and optimizer state are spread over the ranks (FSDP2), for wide projectors",
        choices=("ddp", "fsdp"),
    )

    def check(self) -> None:
        self.require_at_least(1, "epochs", "accumulate")
        self.require(self.batch_size >= 2, "batch_size", "at least 2, the loss needs batch statistics")
        self.require_choice("optimizer", "accumulation", "views", "parallel")
        self.require_finite("learning_rate", "lars_coefficient", positive=True)
        self.require_finite("learning_rate_biases", "weight_decay", "final_learning_rate")
        self.require(self.final_learning_rate <= 1, "final_learning_rate", "at most 1")
        self.require(0 <= self.momentum < 1, "momentum", "at least 0 and less than 1")
        self.warmup_steps(1)

    def warmup_steps(self, steps_per_epoch: int) -> int:
        """Return the steps of the warm-up, less than those of the run.

        Raises:
            TrainerError: it is no number of epochs and no percentage, or as long as the run.
        """
        share = self.warmup.endswith("%")
        try:
            amount = float(self.warmup[: -1 if share else None])
        except ValueError:
            amount = -1.0
        if not 0 <= amount < (100 if share else float("inf")):
            raise TrainerError(f"--warmup must be epochs, such as 10, or a share below 100%, got {self.warmup!r}")
        if not share and amount >= self.epochs > 0 and amount > 0:
            raise TrainerError(
                f"--warmup {self.warmup} must be less than the {self.epochs} epochs of the run; lower it, or give "
                "a share of the run, such as --warmup 10%"
            )
        total = self.epochs * steps_per_epoch
        return int(total * amount / 100) if share else int(amount * steps_per_epoch)


@dataclass(frozen=True)
class Config(
    RunOptions,
    DataOptions,
    AugmentationOptions,
    BackboneOptions,
    InitialOptions,
    CriterionOptions,
    OptimizationOptions,
    DeviceOptions,
):
    """A pre-training run, complete: the same configuration on the same machine gives the same weights.

    Raises:
        TrainerError: a value is out of range; the message names the option.
    """
