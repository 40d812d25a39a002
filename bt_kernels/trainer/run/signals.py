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
    PREEMPTED = 2  # a scheduler wants the machine back, or the terminal was closed


_REASONS = {
    signal.SIGINT: Stop.INTERRUPTED,
    signal.SIGTERM: Stop.PREEMPTED,
    signal.SIGUSR1: Stop.PREEMPTED,
    signal.SIGHUP: Stop.PREEMPTED,
}
ANSWERED = tuple(_REASONS)


class StopRequest:
    """Context manager in which signals only set ``reason``; a second SIGINT raises KeyboardInterrupt.

    Signals that were ignored before stay so: nohup ignores SIGHUP, and a shell's background job SIGINT.
    """

    def __init__(self) -> None:
        self.reason = Stop.NO

    def __enter__(self) -> Self:
        answered = [number for number in ANSWERED if signal.getsignal(number) != signal.SIG_IGN]
        self._previous = {number: signal.signal(number, self._note) for number in answered}
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
