"""The pictures of a result of benchmarks.loss, one file each; benchmarks/plot.py draws them all."""
