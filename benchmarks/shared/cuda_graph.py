"""A call captured once in a CUDA graph, to be replayed as a single launch: the GPU's time without the host's."""

from collections.abc import Callable

import torch
from torch import Tensor

WARM_UP_CALLS = 3


def capture(call: Callable[[], tuple[Tensor, ...]]) -> tuple[Callable[[], None], tuple[Tensor, ...]]:
    """The replay, and the tensors that each replay writes anew, NaN until the first.

    What the call reads must stay where it is, and the call must leave the shapes and the host out of it.
    """
    # On a side stream, as capture will be: compiles kernels, creates handles and workspaces, none of which it
    # allows.
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP_CALLS):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = call()
    # Their memory may hold the warm-up's right results: a replay that writes nothing must not pass for one that
    # does.
    for output in outputs:
        if output.is_floating_point():
            output.detach().fill_(float("nan"))
    return graph.replay, outputs
