"""The cost model behind formulation="auto", and that "auto" takes what it says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bt_kernels import barlow_twins_loss
from bt_kernels.backends.registry import BACKENDS
from bt_kernels.formulation import choose_formulation, flops
from tests.support.inputs import views

sizes = st.integers(1, 2**20)


@given(n=sizes, d=sizes)
def test_auto_is_the_cheaper_one(n, d):
    chosen = choose_formulation("auto", n, d)
    assert flops(chosen, n, d) == min(flops("gram", n, d), flops("correlation", n, d)) == 6 * n * d * min(n, d)
    assert chosen == ("gram" if n < d else "correlation")


@given(n=sizes, d=st.integers(2, 2**20), requested=st.sampled_from(["gram", "correlation"]))
def test_a_request_is_kept(n, d, requested):
    assert choose_formulation(requested, n, d) == requested


@given(n=sizes, requested=st.sampled_from(["gram", "correlation", "auto"]))
def test_one_feature_has_no_difference_of_sums(n, requested):
    assert choose_formulation(requested, n, 1) == "correlation"


@pytest.mark.parametrize(
    "shape, name", [((9, 40), "gram"), ((40, 9), "correlation"), ((9, 9), "correlation")], ids=str
)
def test_auto_runs_its_choice_forward_and_backward(backend, monkeypatch, shape, name):
    calls = []

    def recorded(stage, function):
        def record(*arguments):
            calls.append(stage)
            return function(*arguments)

        return record

    for stage in ("gram_forward", "gram_backward", "correlation_forward", "correlation_backward"):
        function = getattr(BACKENDS[backend], stage)
        monkeypatch.setattr(BACKENDS[backend], stage, recorded(stage, function))
    z_a, z_b = (z.requires_grad_() for z in views(*shape))
    barlow_twins_loss(z_a, z_b, backend=backend).backward()
    assert calls == [f"{name}_forward", f"{name}_backward"]
