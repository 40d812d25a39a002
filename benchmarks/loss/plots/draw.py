"""All pictures of a result file: OUTPUT-time.png, -memory.png, -speedup.png, -floor.png."""

import hashlib
from pathlib import Path

PICTURES = ("time", "memory", "speedup", "floor")


def digest(result: Path) -> str:
    """Of a result file; the pictures that were drawn from it carry it."""
    return hashlib.sha256(result.read_bytes()).hexdigest()


def draw(result: dict, output: Path, source: str = "") -> list[Path]:
    """Writes OUTPUT-time.png and so on, with the source's digest in them; returns those that there are.

    Raises ImportError where matplotlib is not installed.
    """
    from matplotlib import pyplot

    from benchmarks.loss.plots import curves, floor, speedup
    from benchmarks.shared import style

    written = []
    with pyplot.rc_context(style.RC):
        for name in PICTURES:
            module = {"speedup": speedup, "floor": floor}.get(name)
            drawn = module.draw(result) if module else curves.draw(result, name)
            if drawn is not None:
                path = output.with_name(f"{output.stem}-{name}.png")
                drawn.savefig(path, dpi=150, metadata={"Source": source, "Software": None})
                pyplot.close(drawn)
                written.append(path)
    return written
