"""Bytes on the wire and FLOPs of both formulations over W ranks: the cost model behind formulation="auto" there.

With N samples in all, n of them and D / W features on a rank, e bytes an embedding and f a float (4, or 8 for
float64), a rank sends

    gram          4 n D e (W - 1) / W                  two views there, two gradients back
                  + 2 (N (N + 1) + 8) f (W - 1) / W    the triangles of K_a and K_b, and four sums
    correlation   2 D^2 f (W - 1) / W                  C
                  + 2 * 4 D * 8 (W - 1) / W            means, then variances of both views, float64; half as much
                                                       again for float64 embeddings, residual means

counting an all-reduce of B bytes as 2 B (W - 1) / W, what a ring sends and no algorithm without help from the
network can go below. For the backward both add three floats. The authors' way sends C too, under autocast in 16
bits, and SyncBatchNorm's statistics.

FLOPs a rank: 6 N^2 D / W and 6 N D^2 / W. Both terms have the smaller of N and D in their favour; the embeddings
on the wire move the border towards the correlation form, to N = 0.64 D for two GPUs and float32, and hardly at all
for many.
"""

from bt_kernels.formulation import choose_formulation, flops

# What a rank can multiply while it sends one byte: some 400 TFLOP/s beside 25 GB/s between machines; two cores
# beside loopback. The choice hardly depends on it.
FLOPS_PER_BYTE = {"cuda": 16_000}
FLOPS_PER_BYTE_ELSEWHERE = 50


def all_reduce_bytes(size: int, world: int) -> float:
    """What a rank sends in an all-reduce of that many bytes."""
    return 2 * size * (world - 1) / world


def features_of(d: int, world: int, rank: int) -> int:
    """How many features that rank gets: shares differ by one at most, the larger first."""
    return d // world + (rank < d % world)


def gram_bytes(
    rows: tuple[int, ...], d: int, rank: int, itemsize: int, needs: tuple[bool, bool] = (True, True)
) -> float:
    """What that rank sends in the Gram form. needs: which views need a gradient."""
    n, world, wide = sum(rows), len(rows), max(4, itemsize)
    embeddings = embedding_bytes(n, rows[rank], d, features_of(d, world, rank), itemsize, sum(needs))
    floats = n * (n + 1) + 8
    return embeddings + all_reduce_bytes(floats * wide, world) + output_gradient_bytes(world, wide, needs)


def embedding_bytes(n: int, own_rows: int, d: int, own_features: int, itemsize: int, gradients: int) -> int:
    """What a rank sends in the all-to-alls: its rows to the others, and gradients of its features back."""
    return (2 * own_rows * (d - own_features) + gradients * (n - own_rows) * own_features) * itemsize


def correlation_bytes(
    rows: tuple[int, ...], d: int, itemsize: int, needs: tuple[bool, bool] = (True, True), local: bool = False
) -> float:
    """What each rank sends in the correlation form. local: no statistics are exchanged."""
    world, wide = len(rows), max(4, itemsize)
    statistics = 0 if local else (6 if itemsize == 8 else 4) * d * 8
    return all_reduce_bytes(d * d * wide + statistics, world) + output_gradient_bytes(world, wide, needs)


def output_gradient_bytes(world: int, wide: int, needs: tuple[bool, bool]) -> float:
    return all_reduce_bytes(3 * wide, world) if any(needs) else 0


def choose_distributed_formulation(
    requested: str, rows: tuple[int, ...], d: int, itemsize: int, device_type: str
) -> str:
    """Resolves "auto" for (N, D) embeddings over len(rows) ranks, the same on all of them; any other request is
    returned as it is, unless D = 1."""
    n, world = sum(rows), len(rows)
    if requested != "auto" or world == 1:
        return choose_formulation(requested, n, d)
    busiest = max(
        range(world),
        key=lambda rank: embedding_bytes(n, rows[rank], d, features_of(d, world, rank), itemsize, 2),
    )
    per_byte = FLOPS_PER_BYTE.get(device_type, FLOPS_PER_BYTE_ELSEWHERE)
    gram = gram_bytes(rows, d, busiest, itemsize) + flops("gram", n, d) / world / per_byte
    correlation = correlation_bytes(rows, d, itemsize) + flops("correlation", n, d) / world / per_byte
    return "gram" if gram < correlation else "correlation"
