"""The frozen backbone, and the features that it gives images."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from bt_kernels.trainer.data import LabelledImages
from bt_kernels.trainer.errors import TrainerError
from bt_kernels.trainer.evaluate.options import EvaluationOptions
from bt_kernels.trainer.evaluate.progress import bar
from bt_kernels.trainer.model.backbone import build_backbone
from bt_kernels.trainer.model.network import three_channels
from bt_kernels.trainer.precision import Precision
from bt_kernels.trainer.weights.load import read_backbone


def load_backbone(options: EvaluationOptions) -> tuple[nn.Module, int]:
    """Return the backbone with its weights, on the CPU in evaluation mode, and the features' width F.

    What was taken from the file is said on stderr.

    Raises:
        TrainerError: there is no such backbone or file, or the weights are another backbone's.
    """
    path = Path(options.weights)
    with torch.random.fork_rng(devices=[]):
        backbone, width = build_backbone(options, options.image_size)
    weights = read_backbone(path, backbone)
    print(f"{path}: {weights.taken}", file=sys.stderr)
    backbone.load_state_dict(weights.state)
    return backbone.to(memory_format=torch.channels_last).eval(), width


@torch.no_grad()
def extract_features(
    backbone: Callable[[Tensor], Tensor],
    images: LabelledImages,
    precision: Precision,
    device: torch.device,
    *,
    batch_size: int,
    indices: np.ndarray | None = None,
    leave_out: bool = False,
    description: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Return images' features and labels, without augmentation.

    Args:
        backbone: From (n, 3, S, S) to (n, F); in evaluation mode.
        images: One part of a data set.
        precision: Of the forward.
        device: Of the backbone.
        batch_size: Images at a time.
        indices: Which images, in which order; all of them if None.
        leave_out: Leave out images that cannot be read.
        description: For a progress bar; without one there is none.

    Returns:
        (N, F) float32 and (N,) int64, on the CPU.

    Raises:
        TrainerError: an image cannot be read, or a worker has died.
    """
    chosen = np.arange(len(images.labels)) if indices is None else indices
    batches: Iterable[tuple[Tensor, Tensor]] = images.batches(
        chosen, batch_size, augment=False, leave_out=leave_out
    )
    if description is not None:
        batches = bar(batches, -(-len(chosen) // batch_size), description)
    # Made once: a list of ImageNet's features would need their memory twice when it is joined.
    done, features, labels = 0, torch.empty(0), torch.empty(len(chosen), dtype=torch.int64)
    for batch, batch_labels in batches:
        with precision.autocast():
            part = backbone(three_channels(batch.to(device)))
        if features.ndim == 1:
            features = torch.empty(len(chosen), part.shape[1])
        rows = slice(done, done + len(part))
        features[rows], labels[rows] = part, batch_labels
        done += len(part)
    return features[:done], labels[:done]


def training_features(
    backbone: nn.Module, images: LabelledImages, precision: Precision, device: torch.device, batch_size: int
) -> tuple[Tensor, Tensor]:
    """Return the features and labels of the training images that can be read; see ``extract_features``.

    Raises:
        TrainerError: none can be read, or a worker has died.
    """
    features, labels = extract_features(
        backbone, images, precision, device, batch_size=batch_size, leave_out=True, description="training features"
    )
    if len(labels) == 0:
        raise TrainerError(f"none of the {len(images.labels)} training images can be read; check --data-dir")
    return features, labels
