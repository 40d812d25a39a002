"""What goes to the ranks and what comes back from them."""

import torch

from tests.support.accuracy import Result


def assert_all_raise(results, kind: str, message: str) -> None:
    assert set(results) == {results[0]}
    assert results[0][0] == kind and message in results[0][1]


def joined(results, world: int) -> Result:
    """One process's result from the ranks': terms that are the same bits everywhere, gradients over W."""
    for terms, _ in results:
        assert all(map(torch.equal, terms, results[0][0]))
    gradients = (torch.cat([gradients[view] for _, gradients in results]) for view in range(2))
    # What DDP's averaging divides by, and exact: in 16 bits a gradient may have to be rounded after it.
    return Result(results[0][0], tuple((g.double() / world).to(g.dtype) for g in gradients))


def split(z_a, z_b, rows):
    return list(zip(z_a.split(list(rows)), z_b.split(list(rows)), strict=True))
