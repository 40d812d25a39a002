"""The loss in shares, for every backend."""

import pytest

from bt_kernels.backends.registry import BACKENDS


@pytest.fixture
def in_shares(backend, formulation):
    """(z_a, z_b, cuts, formula, options, statistics, batch) -> Result, embeddings on the backend's device."""
    from tests.support import shares  # not above: what it imports asks for the device, which is not read there yet

    function = shares.gram_in_shares if formulation == "gram" else shares.correlation_in_shares
    return lambda *arguments: function(BACKENDS[backend], *arguments)
