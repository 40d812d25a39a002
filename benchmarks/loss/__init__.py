"""The loss, forward alone and forward + backward: python -m benchmarks.loss --help."""
