"""The means of an epoch's steps: what its progress shows, in place of the last batch alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bt_kernels.trainer.run.metrics import StepMetrics

_AVERAGED = ("loss", "on_diagonal", "off_diagonal")


class EpochMean:
    """The means over the steps of an epoch that were added; the first step of another epoch begins anew."""

    def __init__(self) -> None:
        self.steps = 0
        self._sums = dict.fromkeys(_AVERAGED, 0.0)
        self._epoch = self._step = 0
        self._times = self._times_before = (0.0, 0.0)  # of training and of waiting, so far and before the epoch

    def add(self, metrics: StepMetrics) -> None:
        """Take a step; one that was taken before, and has been measured further, counts once."""
        if metrics.step == self._step:
            return
        if metrics.epoch != self._epoch:
            self.steps, self._sums = 0, dict.fromkeys(_AVERAGED, 0.0)
            self._times_before = self._times
        self.steps += 1
        for name in _AVERAGED:
            self._sums[name] += getattr(metrics, name)
        self._epoch, self._step = metrics.epoch, metrics.step
        self._times = metrics.seconds, metrics.waiting_seconds

    def of(self, metrics: StepMetrics) -> StepMetrics:
        """Return the last step's metrics with the means in place of its loss and the loss's terms."""
        means: dict[str, Any] = {name: total / self.steps for name, total in self._sums.items()}
        return replace(metrics, **means)

    @property
    def waiting(self) -> float:
        """The share of the epoch's time, in [0, 1], that the training waited for its batches."""
        trained, waited = (now - before for now, before in zip(self._times, self._times_before, strict=True))
        return waited / (trained + waited) if waited > 0 else 0.0
