"""Accuracy against the number of labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from bt_kernels.trainer.evaluate.few_labels import Accuracy
from bt_kernels.trainer.report.pictures.style import COLOURS, STYLE, save


def draw_accuracies(path: Path, accuracies: Mapping[str, Mapping[str, Accuracy]]) -> None:
    """Draw the held-out accuracy by labels per class, a bar per representation, with its spread."""
    columns = [labels for labels in next(iter(accuracies.values())) if labels != "all"]
    width = 0.26
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(7, 3.8), layout="constrained")
        for place, (name, by_labels) in enumerate(accuracies.items()):
            means = [100 * by_labels[column].mean for column in columns]
            errors = [100 * by_labels[column].std for column in columns]
            x = np.arange(len(columns)) + (place - (len(accuracies) - 1) / 2) * width
            axis.bar(x, means, width * 0.92, label=name, color=COLOURS[name])
            axis.errorbar(x, means, errors, fmt="none", ecolor="#333333", elinewidth=1, capsize=2.5)
            for position, mean, error in zip(x, means, errors, strict=True):
                axis.text(position, mean + error + 1.2, f"{mean:.0f}", ha="center", fontsize=8.5)
        axis.set_xticks(np.arange(len(columns)), columns)
        axis.set(xlabel="labels per class", ylabel="accuracy on held-out digits (%)", ylim=(0, 108))
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, 1.14), ncols=len(accuracies))
        save(figure, path)
