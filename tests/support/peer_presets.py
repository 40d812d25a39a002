"""The presets by the name of their module, solo-learn's function among them."""

from collections.abc import Callable
from functools import partial

from bt_kernels import presets

CLASSES = ("official", "lightly", "stable_pretraining", "monai", "catalyst")


def loss_of(name: str) -> type | Callable:
    module = getattr(presets, name)
    return module.BarlowTwinsLoss if name in CLASSES else module.barlow_loss_func


def criterion(name: str, **keywords) -> Callable:
    """What takes two views and returns their loss."""
    loss = loss_of(name)
    return loss(**keywords) if name in CLASSES else partial(loss, **keywords)
