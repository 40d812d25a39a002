"""What test_kill.py starts: the trainer, which kills itself at a named point of its n-th checkpoint."""

import os
import signal
import sys
from types import SimpleNamespace

from bt_kernels.trainer.cli import main
from bt_kernels.trainer.run import files


def killed_in(name, count, after):
    """Replace os.<name> by one that kills this process in its count-th call for a checkpoint's file."""
    original, calls = getattr(os, name), 0

    def kill(*arguments):
        nonlocal calls
        last = arguments[-1]
        path = os.readlink(f"/proc/self/fd/{last}") if isinstance(last, int) else str(last)
        calls += "/step-" in path
        if calls == count and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*arguments)
        if calls == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(files.os, name, kill)


if __name__ == "__main__":
    # What comes after training is not at stake here, and slow.
    sys.modules["bt_kernels.trainer.report.finish"] = SimpleNamespace(finish=lambda *a, **k: "not evaluated")
    point, count, *arguments = sys.argv[1:]
    if point != "nowhere":
        name, _, when = point.partition(" ")
        killed_in(name, int(count), after=when == "after")
    sys.exit(main(arguments))
