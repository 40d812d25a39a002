"""Reference trainer: pre-trains a ResNet with this library's loss; ``python -m bt_kernels.trainer``."""
