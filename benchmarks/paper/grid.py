"""The experiments: which runs each of the paper's tables and figures needs."""

import math
from dataclasses import asdict, dataclass, replace

REFERENCE_BATCH = 64


@dataclass(frozen=True)
class Run:
    """One pre-training with its evaluation.

    ``variant`` is a key of ``VARIANTS``; ``width`` that of all three layers of the projector.
    """

    variant: str
    batch: int
    epochs: int
    width: int
    lambd: float
    seed: int

    @property
    def key(self) -> str:
        """The run's name in the result file."""
        return " ".join(f"{name}={value}" for name, value in asdict(self).items())


@dataclass(frozen=True)
class Scale:
    """Size of the grid and of its network.

    ``batches`` holds the reference batch, ``widths`` the baseline's width and ``lambdas`` its λ. At a batch of N
    the peak learning rate of AdamW is ``learning_rate`` · √(N / reference batch).
    """

    name: str
    backbone: str
    epochs: int
    width: int
    lambd: float
    learning_rate: float
    table_seeds: int
    sweep_seeds: int
    batches: tuple[int, ...]
    widths: tuple[int, ...]
    lambdas: tuple[float, ...]
    label_draws: int = 20
    image_size: int = 16
    precision: str = "float32"
    reference_batch: int = REFERENCE_BATCH

    def rate(self, batch: int) -> float:
        """Peak learning rate at a batch size."""
        return self.learning_rate * math.sqrt(batch / self.reference_batch)

    def baseline(self, seed: int) -> Run:
        return Run("baseline", self.reference_batch, self.epochs, self.width, self.lambd, seed)


REDUCED = Scale(
    name="reduced",
    backbone="small",
    epochs=20,
    width=512,
    lambd=0.0051,
    learning_rate=2e-3,
    table_seeds=5,
    sweep_seeds=3,
    batches=(16, 32, 64, 128, 256),
    widths=(16, 64, 256, 512, 1024, 2048),
    lambdas=(0.0001, 0.0005, 0.002, 0.0051, 0.01, 0.02, 0.1, 0.5),
)
FULL = Scale(
    name="full",
    backbone="resnet18",
    epochs=60,
    width=2048,
    lambd=0.0051,
    learning_rate=1e-3,
    table_seeds=5,
    sweep_seeds=5,
    batches=(16, 32, 64, 128, 256, 512),
    widths=(16, 64, 256, 1024, 2048, 4096, 8192),
    lambdas=(0.0001, 0.0005, 0.001, 0.002, 0.0051, 0.01, 0.02, 0.05, 0.1, 0.5),
)
# CIFAR-10's network and images are those of the trainer's cifar preset.
FULL_CIFAR = replace(FULL, epochs=100, image_size=32, precision="bfloat16", reference_batch=256, table_seeds=3,
                     sweep_seeds=2, batches=(64, 128, 256, 512, 1024))  # fmt: skip
REDUCED_CIFAR = replace(REDUCED, epochs=2, image_size=32, reference_batch=256, batches=(64, 128, 256, 512))

TEMPERATURES = (0.05, 0.2, 1.0)
# What a variant is made of: its loss and the change of its network.
VARIANTS = {
    "baseline": ("barlow", "none"),
    "invariance": ("invariance", "none"),
    "redundancy": ("redundancy", "none"),
    "features": ("features", "none"),
    "no-bn": ("barlow", "no-bn"),
    "covariance": ("covariance", "none"),
    "no-bn-covariance": ("covariance", "no-bn"),
    **{f"cross-entropy-{t:g}": (f"cross-entropy-{t:g}", "none") for t in TEMPERATURES},
    "stop-gradient": ("barlow", "stop-gradient"),
    "predictor": ("barlow", "predictor"),
    "both": ("barlow", "both"),
    "info-nce": ("info-nce", "none"),
    "untrained": ("barlow", "none"),
}
TABLE = tuple(name for name in VARIANTS if name not in ("info-nce", "untrained"))


def table_runs(scale: Scale, variant: str) -> list[Run]:
    """Tables 5 and 6, and the network before its training."""
    epochs = 0 if variant == "untrained" else scale.epochs
    return [replace(scale.baseline(s), variant=variant, epochs=epochs) for s in range(scale.table_seeds)]


def sweep(scale: Scale, name: str) -> dict[float, list[Run]]:
    """The runs of a curve, by what varies along it.

    Args:
        scale: Of the grid.
        name: "batch" (as many epochs for all), "batch-steps" (as many steps), "info-nce", "width" or "lambda".
    """
    base = [scale.baseline(seed) for seed in range(scale.sweep_seeds)]
    if name == "width":
        return {width: [replace(run, width=width) for run in base] for width in scale.widths}
    if name == "lambda":
        return {lambd: [replace(run, lambd=lambd) for run in base] for lambd in scale.lambdas}
    variant = "info-nce" if name == "info-nce" else "baseline"
    runs = {}
    for batch in scale.batches:
        share = batch / scale.reference_batch if name == "batch-steps" else 1
        epochs = max(1, round(scale.epochs * share))
        runs[batch] = [replace(run, variant=variant, batch=batch, epochs=epochs) for run in base]
    return runs


SWEEPS = ("batch", "info-nce", "width", "lambda", "batch-steps")


def all_runs(scale: Scale) -> list[Run]:
    """Every run of the grid once: the first seed's first, so that a grid cut off has a bit of everything."""
    runs = [run for variant in (*TABLE, "untrained") for run in table_runs(scale, variant)]
    runs += [run for name in SWEEPS for point in sweep(scale, name).values() for run in point]
    return sorted(dict.fromkeys(runs), key=lambda run: run.seed)
