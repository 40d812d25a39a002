"""What a run's tests compare: everything a checkpoint holds but the time it took."""

import json

import pytest
import torch


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a if "seconds" not in str(key))
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def last_state(folder):
    return folder.checkpoints.load_latest(pytest.fail)["training"]


def metrics_without_time(folder):
    lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    return [{key: value for key, value in line.items() if not key.endswith("seconds")} for line in lines]
