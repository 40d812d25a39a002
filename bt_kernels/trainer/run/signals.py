"""Signals while training: finish the step first."""

from __future__ import annotations

import signal
from enum import IntEnum
from types import FrameType, TracebackType

from typing_extensions import Self


class Stop(IntEnum):
    """Why a run is to stop; of two reasons the greater one counts."""

    NO = 0
    INTERRUPTED = 1  # SIGINT: somebody pressed Ctrl-C
    PREEMPTED = 2  # SIGTERM or SIGUSR1: a scheduler wants the machine back


_REASONS = {
    signal.SIGINT: Stop.INTERRUPTED,
    signal.SIGTERM: Stop.PREEMPTED,
    signal.SIGUSR1: Stop.PREEMPTED,
}


class StopRequest:
    """Context manager in which signals only set ``reason``; a second SIGINT raises KeyboardInterrupt."""

    def __init__(self) -> None:
        self.reason = Stop.NO

    def __enter__(self) -> Self:
        self._previous = {number: signal.signal(number, self._note) for number in _REASONS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.reason = max(self.reason, _REASONS[signal.Signals(number)])
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
