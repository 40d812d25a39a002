"""The loss on a GPU, both backends beside each other, within a time budget: python -m benchmarks.gpu --help."""
