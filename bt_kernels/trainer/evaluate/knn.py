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
_QUERIES = 512
_KEYS = 32768  # with the above, 64 MiB of similarities at a time


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

    A class without a vote is not among the first five, however few others have one. It is computed on the
    device of ``test_features``; the training images' may be on the CPU, from where they come in parts, once. Of
    the (M, N) similarities a small part is there at a time.

    Raises:
        ValueError: k is not between 1 and N, or there is nothing to classify.
    """
    if not 1 <= k <= len(train_features) or len(test_features) == 0:
        raise ValueError(f"{k} neighbours of {len(train_features)} images for {len(test_features)} others")
    similarities, indices = nearest(test_features, train_features, k)
    # Relative to the nearest neighbour's: the same order of the classes, and exp cannot overflow.
    weights = ((similarities - similarities[:, :1]) / temperature).exp()
    neighbours = train_labels.to(indices.device)[indices]
    found = []
    for part, labels, own in zip(
        *(tensor.split(_QUERIES) for tensor in (weights, neighbours, test_labels)), strict=True
    ):
        votes = part.new_zeros(len(part), classes).scatter_add_(1, labels, part)
        found.append(ranks(votes.masked_fill(votes == 0, torch.nan), own))
    accuracy = top_accuracy(torch.cat(found))
    return accuracy.top1, accuracy.top5


def nearest(
    queries: Tensor,  # (M, F)
    keys: Tensor,  # (N, F), on any device
    k: int,
) -> tuple[Tensor, Tensor]:
    """Return the k largest cosines of every query, falling, and the keys' indices; (M, k) each."""
    queries = F.normalize(queries.float(), dim=1)
    best = queries.new_full((len(queries), k), -torch.inf)
    indices = torch.zeros(len(queries), k, dtype=torch.int64, device=queries.device)
    for first in range(0, len(keys), _KEYS):
        part = F.normalize(keys[first : first + _KEYS].to(queries.device).float(), dim=1)
        for rows in range(0, len(queries), _QUERIES):
            chosen = slice(rows, rows + _QUERIES)
            values, positions = (queries[chosen] @ part.T).topk(min(k, len(part)), dim=1)
            candidates = torch.cat([indices[chosen], positions + first], dim=1)
            best[chosen], kept = torch.cat([best[chosen], values], dim=1).topk(k, dim=1)
            indices[chosen] = candidates.gather(1, kept)
    return best, indices
