"""What the benchmarks share: what is measured, what it is checked against, and how time and memory are taken."""
