"""Errors against float64 of every backend and of others' code: python -m benchmarks.accuracy --help."""
