"""Ops and libraries in torch's registry: what a first import registered stays."""

import pytest
import torch

from bt_kernels.backends import torch_ops

pytestmark = pytest.mark.runs_on("cpu")


def test_what_was_defined_first_stays():
    """Newer versions of torch would take a second function for the shapes, and say nothing."""

    def define(factor):
        torch_ops.define(
            "bt_kernels_tests::repeat",
            "(Tensor x) -> Tensor",
            shapes=lambda x: x.new_empty(factor * x.shape[0]),
            run=lambda x: x.repeat(factor),
        )

    x = torch.ones(3)
    for factor in (2, 5):
        define(factor)
        assert torch.ops.bt_kernels_tests.repeat(x).shape == (6,)
        assert torch.ops.bt_kernels_tests.repeat(x.to("meta")).shape == (6,)


def test_shapes_of_an_op_that_is_not_there():
    with pytest.raises(RuntimeError, match="operator bt_kernels_tests::none does not exist"):
        torch_ops.register_shapes("bt_kernels_tests::none", lambda x: x)


def test_the_reason_is_one_line_and_says_what_to_do(tmp_path):
    """The dynamic linker's own words, not torch's, which hold the path alone."""
    library = tmp_path / "_OPS.so"
    library.write_text("not a library")
    ok, reason, fault = torch_ops.load_library(library, "ops", "bt_kernels_tests::none", "CPU")
    assert not ok and fault and "\n" not in reason
    assert reason.startswith(f"_OPS.so does not load with torch {torch.__version__}: ")
    assert "file too short" in reason or "invalid ELF header" in reason
    assert reason.endswith("; install the package again beside this torch")
