"""What the numbers say of the paper's findings: statistics over seeds, and the words that follow from them.

Runs of one seed share the split, the initial weights and the draws of labels, so variants are compared seed by
seed. A difference counts if its 95 % interval (Student's t over the seeds) leaves out 0. Its size is a share of
the gain: what the baseline has above the untrained network, or in the paper above 0.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from benchmarks.paper import grid, published
from benchmarks.paper.grid import Run, Scale

LABELS = "10"  # per class: the accuracy that findings are about
LARGE = 0.1  # of the gain
CHANCE = 10.0  # per cent: ten classes, of digits and of CIFAR-10 alike
CONFIDENCE = 0.95

BySeed = dict[int, float]


@dataclass(frozen=True)
class Difference:
    """A mean over seeds in percentage points, and half of its 95 % interval: NaN from one seed alone."""

    mean: float
    half: float
    seeds: int

    @property
    def certain(self) -> bool:
        """Whether the interval leaves out 0."""
        return abs(self.mean) > self.half  # False for NaN

    def __str__(self) -> str:
        if self.seeds == 0:
            return "not measured"
        return f"{self.mean:+.1f} ± {self.half:.1f}" if self.seeds > 1 else f"{self.mean:+.1f} (one seed)"


@dataclass(frozen=True)
class Finding:
    """One statement of the paper, what was measured here, and whether they agree."""

    claim: str
    here: str
    verdict: str  # begins with "agrees", "disagrees" or "open"


class Measured:
    """The runs of a result file.

    Args:
        result: As ``results.read`` returns it.
        labels: Which accuracy: labels per class, "all" or "knn".
    """

    def __init__(self, result: dict, labels: str = LABELS) -> None:
        self.runs = result["runs"]
        self.labels = labels
        names = Scale.__dataclass_fields__
        values = {name: result["grid"][name] for name in names}
        self.scale = Scale(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})

    def accuracies(self, runs: list[Run], labels: str | None = None) -> BySeed:
        """Return the accuracies in % of the runs that are finished, by seed."""
        found = {run.seed: self.runs.get(run.key) for run in runs}
        return {s: 100 * entry["accuracy"][labels or self.labels] for s, entry in found.items() if entry}

    def variant(self, name: str) -> BySeed:
        """Return the accuracies of a table's row."""
        return self.accuracies(grid.table_runs(self.scale, name))

    def curve(self, name: str) -> dict[float, BySeed]:
        """Return the accuracies of the finished points of a sweep."""
        points = {x: self.accuracies(runs) for x, runs in grid.sweep(self.scale, name).items()}
        return {x: values for x, values in points.items() if values}

    @property
    def gain(self) -> float:
        """Percentage points of the baseline above the untrained network."""
        return difference(self.variant("baseline"), self.variant("untrained")).mean

    def cross_entropy(self) -> str:
        """The variant of the best of the cross-entropy's temperatures."""
        names = [f"cross-entropy-{t:g}" for t in grid.TEMPERATURES]
        return max(names, key=lambda name: mean(self.variant(name)))


def mean(values: BySeed) -> float:
    return float(np.mean(list(values.values()))) if values else math.nan


def spread(values: BySeed) -> float:
    """Standard deviation over the seeds, n - 1; NaN of one."""
    return float(np.std(list(values.values()), ddof=1)) if len(values) > 1 else math.nan


def difference(of: BySeed, to: BySeed) -> Difference:
    """Compare the seeds that both have."""
    return interval([of[seed] - to[seed] for seed in sorted(of.keys() & to.keys())])


def interval(values: list[float]) -> Difference:
    n = len(values)
    if n < 2:
        return Difference(values[0] if values else math.nan, math.nan, n)
    t = stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)
    return Difference(float(np.mean(values)), float(t * np.std(values, ddof=1) / math.sqrt(n)), n)


def size(measured: Difference, gain: float) -> str:
    """Return "gain" if the difference counts and is one, "large loss" or "small loss" if it is that
    all over its interval.

    "loss" is one of either size; without a difference that counts it is "none" if the interval leaves out a large
    loss, and "unknown" if it does not.
    """
    low, high, large = measured.mean - measured.half, measured.mean + measured.half, LARGE * gain
    if measured.certain:
        return "gain" if low > 0 else "large loss" if high <= -large else "small loss" if low > -large else "loss"
    return "none" if low > -large else "unknown"  # unknown for NaN


def judge(measured: Difference, gain: float, published_change: float) -> str:
    """Return the verdict on a change of the accuracy, the paper's given in percentage points."""
    if measured.seeds < 2:
        return "open: one seed has no spread" if measured.seeds else "open: not measured"
    kind = size(measured, gain)
    if -published_change >= LARGE * published.BASELINE:
        return {
            "large loss": "agrees: it costs much",
            "small loss": "agrees in direction: it costs little here, much in the paper",
            "loss": "agrees in direction: it costs here; whether much, the spread of the seeds leaves open",
            "none": "disagrees: it costs much in the paper, and nothing beyond the spread of the seeds here",
            "unknown": "open: no difference beyond the spread of the seeds",
            "gain": "disagrees: it costs much in the paper, and helps here",
        }[kind]
    return {
        "large loss": "disagrees: it costs much here, little in the paper",
        "small loss": "agrees: it costs little",
        "loss": "open: it costs here; whether much, the spread of the seeds leaves open",
        "none": "agrees: no difference beyond the spread of the seeds",
        "unknown": "open: no difference beyond the spread of the seeds, which does not rule out a large loss",
        "gain": "disagrees: it costs a little in the paper, and helps here",
    }[kind]


def ablation_findings(measured: Measured) -> list[Finding]:
    """Tables 5 and 6, row by row, and the order of the rows."""
    baseline, found, ours, theirs = measured.variant("baseline"), [], [], []
    for name, accuracy in published.ABLATIONS.items():
        variant = measured.cross_entropy() if name == "cross-entropy" else name
        change = difference(measured.variant(variant), baseline)
        lost = accuracy - published.BASELINE
        chosen = f", the best of {len(grid.TEMPERATURES)} temperatures" if name == "cross-entropy" else ""
        verdict = judge(change, measured.gain, lost)
        found.append(Finding(f"{variant}: {lost:+.1f}", f"{change}{chosen}", verdict))
        if not math.isnan(change.mean):
            ours.append(change.mean)
            theirs.append(accuracy)
    if len(set(ours)) > 2:
        test = stats.spearmanr(ours, theirs)
        rank, p = float(test.statistic), float(test.pvalue)
        verdict = "open: this or more is seen by chance too often"
        if p <= 1 - CONFIDENCE:
            verdict = "agrees" if rank > 0 else "disagrees"
        found.append(Finding("order of the rows", f"rank correlation {rank:+.2f}, p = {p:.2g}", verdict))
    return found


def collapse_finding(measured: Measured) -> Finding:
    """The off-diagonal term alone, against the network before its training."""
    change = difference(measured.variant("redundancy"), measured.variant("untrained"))
    verdict = "open: no difference beyond the spread of the seeds"
    if change.certain:
        at_chance = mean(measured.variant("redundancy")) <= 2 * CHANCE
        verdict = (
            "disagrees: the features are better than before the training"
            if change.mean > 0
            else "agrees"
            if at_chance
            else "agrees in direction: the features are worse than before the training, and above chance"
        )
    return Finding("redundancy term alone collapses, to 0.1", f"{change} against the untrained network", verdict)


def batch_findings(measured: Measured) -> list[Finding]:
    """Figure 2: small batches cost little, and InfoNCE more."""
    found, paper = [], published.BATCHES
    best, reference = max(paper, key=paper.__getitem__), measured.scale.reference_batch
    for name, same in (("batch", "as many epochs"), ("batch-steps", "as many steps")):
        points = measured.curve(name)
        if reference not in points or len(points) < 2:
            continue
        for end, size_of_batch in ((min, "smallest"), (max, "largest")):
            lost = paper[end(paper)] - paper[best]
            claim = f"the {size_of_batch} batch costs little: {end(paper)} against {best}, {lost:+.1f}"
            change = difference(points[end(points)], points[reference])
            here = f"{end(points):g} against {reference}, {same}: {change}"
            verdict = judge(change, measured.gain, lost)
            if size(change, measured.gain) == "gain" and name == "batch-steps":
                verdict = "open: it helps here, where it sees more images"
            found.append(Finding(claim, here, verdict))
    ours, others = measured.curve("batch"), measured.curve("info-nce")
    shared = sorted(ours.keys() & others.keys())
    if len(shared) > 1:
        low, high = shared[0], shared[-1]
        seeds = set.intersection(*(set(curve[x]) for curve in (ours, others) for x in (low, high)))
        drops = [(c[low][s] - c[high][s]) for s in sorted(seeds) for c in (ours, others)]
        change = interval([a - b for a, b in zip(drops[::2], drops[1::2], strict=True)])
        verdict = "open: no difference beyond the spread of the seeds"
        if change.certain:
            verdict = "agrees" if change.mean > 0 else "disagrees: InfoNCE keeps more of its accuracy here"
        here = f"batch {low:g} to {high:g}, change of ours less that of InfoNCE: {change}"
        found.append(Finding("small batches cost InfoNCE (SimCLR) more", here, verdict))
    return found


def width_findings(measured: Measured) -> list[Finding]:
    """Figure 4: a narrow projector costs much, and accuracy rises with the width to the end."""
    curve = measured.curve("width")
    if len(curve) < 3:
        return []
    base = measured.scale.width
    narrow, wide = difference(curve[min(curve)], curve[base]), difference(curve[max(curve)], curve[base])
    kinds = size(narrow, measured.gain), size(wide, measured.gain)
    first = {
        "large loss": "agrees: it costs much",
        "small loss": "agrees in direction: it costs little here",
        "loss": "agrees in direction: it costs here; whether much, the spread of the seeds leaves open",
        "none": "disagrees: it costs nothing beyond the spread of the seeds",
        "unknown": "open: no difference beyond the spread of the seeds",
        "gain": "disagrees: it helps here",
    }[kinds[0]]
    second = {"gain": "agrees", "none": "open: no gain beyond the spread of the seeds"}.get(
        kinds[1],
        "open: no difference beyond the spread of the seeds" if kinds[1] == "unknown" else "disagrees: it falls",
    )
    return [
        Finding("a narrow projector costs accuracy", f"{min(curve)} to {base}: {narrow}", first),
        Finding(f"accuracy rises up to width {published.WIDEST}", f"{max(curve)} to {base}: {wide}", second),
    ]


def lambda_findings(measured: Measured) -> list[Finding]:
    """Figure 5: a factor of 10 in λ matters little."""
    curve = measured.curve("lambda")
    low, high = published.LAMBDAS
    inside = {x: mean(values) for x, values in curve.items() if low <= x <= high}
    if len(inside) < 2:
        return []
    best, worst = max(inside, key=inside.__getitem__), min(inside, key=inside.__getitem__)
    lost = difference(curve[worst], curve[best])
    span = published.LAMBDA_ACCURACIES[1] - published.LAMBDA_ACCURACIES[0]
    overall = max(curve, key=lambda x: mean(curve[x]))
    claim = f"λ from {low} to {high} matters little: {span:.1f} between best and worst"
    found = [
        Finding(claim, f"{worst} against {best}, picked by these seeds: {lost}", judge(lost, measured.gain, -span))
    ]
    here, verdict = f"the best here is {overall}", "agrees"
    if overall != best:
        better = difference(curve[overall], curve[best])
        here += f", against {best}: {better}"
        verdict = "disagrees" if better.certain else "open: no difference beyond the spread of the seeds"
    found.append(Finding(f"the best λ lies from {low} to {high}", here, verdict))
    return found


def all_findings(measured: Measured) -> dict[str, list[Finding]]:
    """Every finding, by the paper's table or figure."""
    return {
        "Tables 5 and 6": [*ablation_findings(measured), collapse_finding(measured)],
        "Figure 2, batch size": batch_findings(measured),
        "Figure 4, projector width": width_findings(measured),
        "Figure 5, λ": lambda_findings(measured),
    }
