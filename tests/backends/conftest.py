"""The loss in shares, for every backend."""

import pytest

from bt_kernels.backends.registry import BACKENDS
from tests.support.shares import correlation_in_shares, gram_in_shares


@pytest.fixture
def in_shares(backend, formulation):
    """(z_a, z_b, cuts, formula, options, statistics, batch) -> Result, embeddings on the backend's device."""
    function = gram_in_shares if formulation == "gram" else correlation_in_shares
    return lambda *arguments: function(BACKENDS[backend], *arguments)
