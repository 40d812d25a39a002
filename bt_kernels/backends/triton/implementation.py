"""What runs the ops of bt_kernels/backends/ops.py, by their arguments. Imports Triton."""

from collections.abc import Callable
from typing import Any

from bt_kernels.backends.triton import correlation, gram

OPS: dict[str, Callable[..., Any]] = {
    "gram_forward": gram.forward,
    "gram_partial": gram.partial,
    "gram_total": gram.total,
    "gram_backward": gram.backward,
    "correlation_forward": correlation.forward,
    "correlation_partial": correlation.partial,
    "correlation_total": correlation.total,
    "correlation_backward": correlation.backward,
}
