"""The pictures of a result of benchmarks.loss, one file each; draw.py draws them all."""
