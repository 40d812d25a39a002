"""A whole training step with each loss: python -m benchmarks.step --help."""
