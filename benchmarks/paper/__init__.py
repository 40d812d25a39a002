"""The paper's ablations and figures in miniature: python -m benchmarks.paper --help."""
