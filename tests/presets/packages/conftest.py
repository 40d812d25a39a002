"""The packages import torchvision, which does not load beside a CPU-only PyTorch without this."""

from bt_kernels.trainer.torchvision_import import import_torchvision

import_torchvision()
