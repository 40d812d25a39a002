"""Benchmarks. Each is a command of its own, run from the repository root: python -m benchmarks.loss --help."""
