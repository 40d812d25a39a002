"""The --device option: what the suite runs on. Which tests that selects is in support/selection.py."""

import os
import tempfile

# Before torch loads OpenMP: threads that spin at every barrier make small operations a hundred times slower where
# other processes want the same cores.
os.environ["OMP_WAIT_POLICY"] = os.environ.get("OMP_WAIT_POLICY", "PASSIVE")
# A cache of compiled graphs outlives a change of an op's schema, and then hands out graphs that call the op as it
# was.
inductor_cache = tempfile.TemporaryDirectory(prefix="inductor_cache_")
os.environ["TORCHINDUCTOR_CACHE_DIR"] = inductor_cache.name

if os.environ.get("TRITON_INTERPRET") == "1":
    from tests.support import interpreter_bf16  # noqa: F401  before bt_kernels decorates its kernels

import hypothesis
import pytest
import torch

from bt_kernels.backends import triton
from tests.support import target

pytest_plugins = ["tests.support.selection", "tests.support.fixtures"]

# Deterministic examples: a red run is red again. No deadline: machines differ, and no test asserts time.
hypothesis.settings.register_profile("suite", derandomize=True, deadline=None, max_examples=40, database=None)
hypothesis.settings.register_profile("interpreted", hypothesis.settings.get_profile("suite"), max_examples=5)
# pytest tests/fuzz --hypothesis-profile fuzz: many new examples each time; the seed to repeat them is printed.
hypothesis.settings.register_profile("fuzz", deadline=None, max_examples=1000, database=None, print_blob=True)


def pytest_addoption(parser):
    parser.addoption(
        "--device",
        choices=tuple(target.BACKENDS),
        default="cpu",
        help="the backends cpu and eager; triton or cuda on CPU tensors; or all that there are on a GPU",
    )


def pytest_configure(config):
    device = config.getoption("--device")
    if device == "interpreter" and not triton.INTERPRETED:
        raise pytest.UsageError("--device interpreter needs TRITON_INTERPRET=1 in the environment")
    if device == "cuda" and triton.INTERPRETED:
        raise pytest.UsageError("--device cuda needs TRITON_INTERPRET not to be set: it turns compiling off")
    if device == "cuda" and not torch.cuda.is_available():
        raise pytest.UsageError("--device cuda needs a GPU, and torch sees none")
    target.choose(device)
    if device == "emulated":
        emulate_cuda(config)
    if device == "interpreter":  # numpy warns where a GPU goes on with Inf or NaN
        config.addinivalue_line("filterwarnings", "ignore::RuntimeWarning:triton.runtime.interpreter")
    if device == "cuda":  # cuBLAS wants it for torch.use_deterministic_algorithms, before its first product
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if not config.getoption("--hypothesis-profile", None):
        hypothesis.settings.load_profile(target.few("suite", "interpreted"))


def emulate_cuda(config) -> None:
    """Builds the kernels for the CPU, where they are not there from an earlier run, and loads them."""
    from bt_kernels.backends import cuda
    from tests.cuda_emulated.build import BuildError, build

    try:
        target.set_emulated_library(build(config.cache.mkdir("cuda_emulated")))
    except BuildError as error:
        raise pytest.UsageError(f"--device emulated: {error}") from None
    cuda.emulate(target.emulated_library())
