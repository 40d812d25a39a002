"""The projector, from features to embeddings."""

from __future__ import annotations

from torch import nn


def build_projector(features: int, widths: list[int]) -> nn.Sequential:
    """Return the projector: Linear without bias, BatchNorm, ReLU for all widths but the last, then Linear.

    The names of its weights are those of the authors' code.

    Args:
        features: Width of the features, F; it takes (N, F).
        widths: Widths of its layers; the last one is the embedding's, D, and it returns (N, D).
    """
    layers: list[nn.Module] = []
    for width in widths[:-1]:
        layers += [nn.Linear(features, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(inplace=True)]
        features = width
    layers.append(nn.Linear(features, widths[-1], bias=False))
    return nn.Sequential(*layers)
