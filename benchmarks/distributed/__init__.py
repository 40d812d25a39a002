"""The loss over ranks, forward + backward: python -m benchmarks.distributed --help."""
