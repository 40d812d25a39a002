"""What a run is made of: options, the presets that fill them, and the sources that override them."""

from bt_kernels.trainer.config.config import Config
from bt_kernels.trainer.config.parts import resolve_device

__all__ = ["Config", "resolve_device"]
