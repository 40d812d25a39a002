"""The report in words and tables, Markdown."""

from collections import Counter

import numpy as np

from benchmarks.paper import grid, published
from benchmarks.paper.findings import LABELS, BySeed, Finding, Measured, all_findings, difference, mean, spread
from bt_kernels.trainer.training.health import CollapseWatch

TITLES = {
    "baseline": "baseline",
    "invariance": "invariance term alone",
    "redundancy": "redundancy term alone",
    "features": "normalized along the features, too",
    "no-bn": "no BatchNorm in the projector",
    "covariance": "cross-covariance",
    "no-bn-covariance": "no BatchNorm, cross-covariance",
    **{f"cross-entropy-{t:g}": f"cross-entropy, temperature {t:g}" for t in grid.TEMPERATURES},
    "stop-gradient": "stop-gradient",
    "predictor": "predictor",
    "both": "stop-gradient and predictor",
    "untrained": "untrained network",
}
SWEEP_TITLES = {
    "batch": "batch size, as many epochs",
    "batch-steps": "batch size, as many steps",
    "info-nce": "batch size, InfoNCE, as many epochs",
    "width": "projector width",
    "lambda": "λ",
}
UNRELATED = 0.1  # a mean correlation of the two views' features under which they say nothing of the image
ONE_FEATURE = 1.5  # an effective rank


def with_spread(values: BySeed) -> str:
    if not values:
        return "-"
    return f"{mean(values):.1f}" + (f" ± {spread(values):.1f}" if len(values) > 1 else "")


def markdown(result: dict) -> str:
    """Return the whole report."""
    measured = Measured(result)
    parts = [introduction(result, measured), ablations(measured), verdicts(all_findings(measured))]
    parts += [sweep_table(measured, name) for name in grid.SWEEPS]
    return "\n\n".join(part for part in parts if part) + "\n"


def introduction(result: dict, measured: Measured) -> str:
    scale, machine = measured.scale, result["machine"]
    state = "" if result["complete"] else " The grid is not finished: what is missing is left out."
    return (
        f"# The paper in miniature: {result['configuration']['data']}\n\n"
        f"{len(result['runs'])} runs on {machine['device']}, torch {result['versions']['torch']}.{state} Network: "
        f"{scale.backbone}, projector {'-'.join([str(scale.width)] * 3)}, batch {scale.reference_batch}, "
        f"{scale.epochs} epochs, λ {scale.lambd}, AdamW at {scale.learning_rate:g} · √(batch / "
        f"{scale.reference_batch}). Accuracy in %: logistic regression on frozen features with {LABELS} labels "
        f"per class (mean of {scale.label_draws} draws) or all; weighted nearest neighbours. ± is the standard "
        "deviation over seeds; changes are formed seed by seed, and their ± is the 95 % interval of the mean. "
        f"The gain of training is {measured.gain:.1f} points at {LABELS} labels; a loss of a tenth of it or more "
        "counts as large, in the paper a tenth of 71.4."
    )


def ablations(measured: Measured) -> str:
    lines = [
        f"| tables 5 and 6 | paper | change | {LABELS} labels | change | all labels | k-NN | correlation "
        "| deviation | effective rank | |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    best = measured.cross_entropy()
    for name in (*grid.TABLE, "untrained"):
        runs = grid.table_runs(measured.scale, name)
        values = measured.accuracies(runs)
        if not values:
            continue
        paper = {"baseline": published.BASELINE, **published.ABLATIONS}.get(
            "cross-entropy" if name == best else name
        )
        ours = "" if name == "baseline" else str(difference(values, measured.variant("baseline")))
        cells = [
            TITLES[name],
            "" if paper is None else f"{paper:.1f}",
            "" if paper is None or name == "baseline" else f"{paper - published.BASELINE:+.1f}",
            with_spread(values),
            ours,
            with_spread(measured.accuracies(runs, "all")),
            with_spread(measured.accuracies(runs, "knn")),
            *embedding_cells([measured.runs[run.key] for run in runs if run.key in measured.runs]),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def embedding_cells(entries: list[dict]) -> list[str]:
    """Mean correlation, deviation and effective rank of the embeddings, and what they are a sign of."""
    names = ("mean_correlation", "embedding_std", "effective_rank")
    correlation, std, rank = (float(np.mean([e["embeddings"][name] for e in entries])) for name in names)
    signs = [
        text
        for sign, text in (
            (std < CollapseWatch.CONSTANT, "constant"),
            (rank < ONE_FEATURE, "one feature"),
            (correlation < UNRELATED, "views unrelated"),
            (any(e["diverged"] for e in entries), "diverged"),
        )
        if sign
    ]
    return [f"{correlation:.2f}", f"{std:.2g}", f"{rank:.1f}", ", ".join(signs)]


def verdicts(findings: dict[str, list[Finding]]) -> str:
    counts = Counter(f.verdict.split(":")[0].split(" ")[0] for found in findings.values() for f in found)
    lines = [
        f"Of {counts.total()} findings {counts['agrees']} agree, {counts['disagrees']} disagree and "
        f"{counts['open']} are open.",
        "",
        "| the paper's finding | measured here | |",
        "|---|---|---|",
    ]
    for title, found in findings.items():
        lines += [f"| **{title}** | | |"] if found else []
        lines += [f"| {named(f.claim)} | {f.here} | {f.verdict} |" for f in found]
    return "\n".join(lines)


def named(claim: str) -> str:
    """Put a variant's title in the place of its key."""
    name, colon, rest = claim.partition(":")
    return TITLES.get(name, name) + colon + rest


def sweep_table(measured: Measured, name: str) -> str:
    points = grid.sweep(measured.scale, name)
    rows = []
    for x, runs in points.items():
        values = measured.accuracies(runs)
        if not values:
            continue
        entries = [measured.runs[run.key] for run in runs if run.key in measured.runs]
        cells = [f"{x:g}", with_spread(values), with_spread(measured.accuracies(runs, "all"))]
        correlation, _, rank, signs = embedding_cells(entries)
        cells += [
            with_spread(measured.accuracies(runs, "knn")),
            correlation,
            rank,
            str(entries[0]["steps"]),
            signs,
        ]
        rows.append("| " + " | ".join(cells) + " |")
    if not rows:
        return ""
    titles = (f"{LABELS} labels", "all labels", "k-NN", "correlation", "effective rank", "steps", "")
    return "\n".join(
        ["| " + " | ".join((SWEEP_TITLES[name], *titles)) + " |", "|---|---|---|---|---|---|---|---|", *rows]
    )
