"""The Triton kernels, one per file, named as the stages are in docs/design.md."""
