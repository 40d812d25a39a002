"""The frozen backbone, and the features that it gives images."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn
from tqdm import tqdm

from bt_kernels.trainer.data import LabelledImages
from bt_kernels.trainer.evaluate.options import EvaluationOptions
from bt_kernels.trainer.model.backbone import build_backbone
from bt_kernels.trainer.model.network import three_channels
from bt_kernels.trainer.training.precision import Precision
from bt_kernels.trainer.weights.load import load_backbone_weights, load_into

T = TypeVar("T")


def load_backbone(options: EvaluationOptions) -> tuple[nn.Module, int]:
    """Return the backbone with its weights, on the CPU in evaluation mode, and the features' width F.

    Raises:
        TrainerError: there is no such backbone or file, or the weights are another backbone's.
    """
    path = Path(options.weights)
    with torch.random.fork_rng(devices=[]):
        backbone, width = build_backbone(options, options.image_size)
    load_into(backbone, load_backbone_weights(path), path)
    return backbone.to(memory_format=torch.channels_last).eval(), width  # type: ignore[call-overload]


@torch.no_grad()
def extract_features(
    backbone: nn.Module,
    images: LabelledImages,
    precision: Precision,
    batch_size: int,
    description: str = "features",
) -> Tensor:
    """Return the features of all images, in evaluation mode and without augmentation.

    Args:
        backbone: On any device; its mode is as before in the end.
        images: One part of a data set.
        precision: Of the forward.
        batch_size: Images at a time.
        description: For the progress bar.

    Returns:
        (N, F) float32 on the CPU.
    """
    device, training = next(backbone.parameters()).device, backbone.training
    backbone.eval()
    count, done, features = len(images.labels), 0, torch.empty(0)
    batches = images.batches(range(count), batch_size, augment=False)
    for batch, _ in bar(batches, -(-count // batch_size), description):
        with precision.autocast():
            part = backbone(three_channels(batch.to(device)))
        if done == 0:
            features = torch.empty(count, part.shape[1])
        features[done : done + len(part)] = part
        done += len(part)
    backbone.train(training)
    return features


def bar(iterable: Iterable[T], total: int, description: str) -> Iterable[T]:
    """Return the iterable, with a progress bar on stderr if that is a terminal."""
    return tqdm(iterable, total=total, desc=description, disable=None, leave=False)
