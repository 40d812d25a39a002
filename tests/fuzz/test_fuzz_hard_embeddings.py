"""Embeddings and options: features that stand still, hardly vary or are far from 0; equal views; any weights."""

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.accuracy import Formula, Yardstick, evaluate
from tests.support.inputs import views

# What becomes of a feature x of one view, all of whose numbers have a spread and a mean near 1.
FEATURES = {
    "as it is": lambda x: x,
    "small": lambda x: 1e-6 * x,
    "large": lambda x: 1e6 * x,
    "far from zero": lambda x: x + 1e5,
    "farther than float32 tells": lambda x: x + 1e9,
    "stands still": lambda x: torch.full_like(x, 0.1),
    "last bits": lambda x: 1 + torch.finfo(torch.float32).eps * x.round(),
    "one sample": lambda x: torch.arange(len(x)).eq(1).to(x),
    "two values": lambda x: x.sign(),
}
SECOND_VIEW = {
    "its own": lambda z_a, z_b: z_b,
    "identical": lambda z_a, z_b: z_a.clone(),
    "opposite": lambda z_a, z_b: -z_a,
    "nearly the same": lambda z_a, z_b: z_a * (1 + 1e-6 * z_b),
    "shifted": lambda z_a, z_b: z_a + 3,
}
formulas = st.builds(
    Formula,
    lambd=st.sampled_from([0.0, 0.0051, 1.0, 313.0]),
    scale=st.sampled_from([1.0, 0.024, 65536.0]),
    eps=st.sampled_from([1e-5, 1e-3, 0.1]),
    unbiased=st.booleans(),
    output_gradients=st.sampled_from([(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.3, -1.1, 0.02)]),
)


def still(z: torch.Tensor) -> torch.Tensor:  # (N, D) -> (D,)
    return (z == z[0]).all(0)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    n=st.integers(2, 40),
    kinds=st.lists(st.sampled_from(list(FEATURES)), min_size=1, max_size=20),
    second=st.sampled_from(list(SECOND_VIEW)),
    dtype=st.sampled_from([torch.float64, torch.float32]),
    formula=formulas,
    seed=st.integers(0, 2**31),
)
def test_hard_embeddings_meet_the_standard(terms, n, kinds, second, dtype, formula, seed):
    z_a, z_b = views(n, len(kinds), torch.float64, seed)
    for feature, kind in enumerate(kinds):
        for z in (z_a, z_b):
            z[:, feature] = FEATURES[kind](z[:, feature])
    z_a, z_b = z_a.to(dtype), SECOND_VIEW[second](z_a, z_b).to(dtype)
    result = evaluate(terms, z_a, z_b, formula)
    Yardstick(None, z_a, z_b, formula).check(result)
    never = still(z_a) & still(z_b)
    assert all((gradient[:, never] == 0).all() for gradient in result.gradients)
    if len(kinds) == 1:
        assert result.terms[2] == 0
        alone = evaluate(terms, z_a, z_b, Formula(eps=formula.eps, output_gradients=(0.0, 0.0, 1.0)))
        assert all((gradient == 0).all() for gradient in alone.gradients)
