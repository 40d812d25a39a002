"""The weighted nearest-neighbour classifier of instance discrimination (Wu et al., 2018): nothing is trained.

The k training images most similar to a test image vote for their classes with weights exp(similarity / T), the
similarity being the cosine of the features.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bt_kernels.trainer.evaluate.accuracy import ranks, top_accuracy

NEIGHBOURS = 200
TEMPERATURE = 0.07
_TEST_ROWS = 512
_TRAIN_ROWS = 32768  # with the above, 64 MiB of similarities at a time


def usual_neighbours(images: int, classes: int) -> int:
    """Return 200, or the images of a class where there are fewer: more would only add votes for other classes."""
    return max(1, min(NEIGHBOURS, images // max(1, classes)))


def knn_accuracy(
    train_features: Tensor,  # (N, F)
    train_labels: Tensor,  # (N,) int64
    test_features: Tensor,  # (M, F)
    test_labels: Tensor,  # (M,) int64
    k: int,
    temperature: float,
    classes: int,
) -> tuple[float, float]:
    """Return the top-1 and the top-5 accuracy on the test features, shares in [0, 1].

    A class without a vote is not among the first five, however few others have one. All tensors are on one
    device; of the (M, N) similarities a small part is there at a time.

    Raises:
        ValueError: k is not between 1 and N, or there is nothing to classify.
    """
    if not 1 <= k <= len(train_features) or len(test_features) == 0:
        raise ValueError(f"{k} neighbours of {len(train_features)} images for {len(test_features)} others")
    train = F.normalize(train_features.float(), dim=1)
    found = []
    for rows, labels in zip(test_features.split(_TEST_ROWS), test_labels.split(_TEST_ROWS)):
        similarities, indices = nearest(F.normalize(rows.float(), dim=1), train, k)
        # Relative to the nearest neighbour's: the same order of the classes, and exp cannot overflow.
        weights = ((similarities - similarities[:, :1]) / temperature).exp()
        votes = weights.new_zeros(len(rows), classes).scatter_add_(1, train_labels[indices], weights)
        found.append(ranks(votes.masked_fill(votes == 0, torch.nan), labels))
    accuracy = top_accuracy(torch.cat(found))
    return accuracy.top1, accuracy.top5


def nearest(
    queries: Tensor,  # (M, F), rows of unit length
    keys: Tensor,  # (N, F), rows of unit length
    k: int,
) -> tuple[Tensor, Tensor]:
    """Return the k largest cosines of every query, falling, and the keys' indices; (M, k) each."""
    similarities = queries.new_empty(len(queries), 0)
    indices = torch.empty(len(queries), 0, dtype=torch.int64, device=queries.device)
    for start in range(0, len(keys), _TRAIN_ROWS):
        products = queries @ keys[start : start + _TRAIN_ROWS].T
        values, positions = products.topk(min(k, products.shape[1]), dim=1)
        similarities = torch.cat([similarities, values], dim=1)
        indices = torch.cat([indices, positions + start], dim=1)
        similarities, kept = similarities.topk(min(k, similarities.shape[1]), dim=1)
        indices = indices.gather(1, kept)
    return similarities, indices
