"""A made-up result of benchmarks.loss: both axes and passes; the official formula does not fit beyond D = 8192."""

SHAPES = [*((256, d) for d in (512, 2048, 8192, 32768)), *((n, 8192) for n in (64, 1024)), (64, 512), (1024, 2048)]


def entry(ms: float, peak: int | None) -> dict:
    found = {"status": "ok", "ms": {"q20": 0.9 * ms, "q50": ms, "q80": 1.1 * ms}}
    return found | ({} if peak is None else {"peak_bytes": peak})


def both(ms: float, peak: int | None) -> dict:
    return entry(ms, peak) | {"forward": entry(ms / 2, peak)}


def loss_cell(n: int, d: int, factor: float) -> dict:
    ms = factor * 10 * (n / 256) * (d / 8192)
    candidates = {
        "bt_kernels": both(ms, 20 * 10**6 * d // 8192),
        "official": both(30 * ms, 1100 * 10**6),
        "floor": both(1.1 * ms, None),
    }
    quantiles = {"q20": 29.0, "q50": 30.0, "q80": 31.0}
    ratios = {"official/bt_kernels": quantiles, "bt_kernels/floor": {"q20": 0.9, "q50": 0.91, "q80": 0.92}}
    if d > 8192:
        candidates["official"] = {"status": "skipped", "reason": "does not fit: needs about 18 GB"}
        del ratios["official/bt_kernels"]
    cell = {"n": n, "d": d, "embeddings_bytes": 8 * n * d, "candidates": candidates, "targets": []}
    return cell | {"ratios": ratios, "forward_ratios": dict(ratios)}


def loss_result(factor: float = 1.0) -> dict:
    return {
        "benchmark": "loss",
        "complete": True,
        "command": "python -m benchmarks.loss",
        "dtype": "float32",
        "operands": "float32",
        "machine": {"device": "a CPU", "cpu": "a CPU", "threads": 2},
        "versions": {"torch": "2.13", "bt_kernels_backend": "cpu"},
        "git": {"commit": "0123456789", "dirty": False},
        "cells": [loss_cell(n, d, factor) for n, d in SHAPES],
    }
